import { describe, expect, it } from 'vitest';
import { ArgumentError } from '../../src/engine/errors.js';
import { SAMPLING_DEFAULTS, samplingParams } from '../../src/engine/sampling_params.js';
import { sampleSeed } from '../../src/engine/seeds.js';

describe('samplingParams', () => {
  it('completes with the defaults', () => {
    expect(samplingParams()).toEqual(SAMPLING_DEFAULTS);
    const params = samplingParams({
      temperature: 0,
      stop: 'END' as unknown as string[],
      maxTokens: undefined as never,
    });
    expect(params).toEqual({ ...SAMPLING_DEFAULTS, temperature: 0, stop: ['END'] });
  });

  it.each<[Record<string, unknown>, string]>([
    [
      { temprature: 1 },
      "Expected 'temprature' to be one of the sampling parameters but received \"temprature\" (did you mean 'temperature'?)",
    ],
    [{ max_tokens: 1 }, "(did you mean 'maxTokens'?)"],
    [{ n: 0 }, "Expected 'n' to be an integer of at least 1 but received 0"],
    [{ temperature: -1 }, "Expected 'temperature' to be a number 0 or more but received -1"],
    [{ temperature: Number.NaN }, 'received NaN'],
    [{ topP: 0 }, "'topP' to be a number over 0 and at most 1"],
    [{ topK: -2 }, "'topK'"],
    [{ topK: 1.5 }, "'topK'"],
    [{ minP: 1.1 }, "'minP'"],
    [{ presencePenalty: 3 }, "'presencePenalty'"],
    [{ frequencyPenalty: -3 }, "'frequencyPenalty'"],
    [{ repetitionPenalty: 0 }, "'repetitionPenalty'"],
    [{ seed: 0.5 }, "'seed' to be an integer or null but received 0.5"],
    [{ stop: [''] }, "'stop' to be a list of non-empty strings"],
    [{ stopTokenIds: [100] }, "'stopTokenIds' to be token ids from 0 to 99 but received 100"],
    [{ stopTokenIds: 5 }, "'stopTokenIds' to be a list of token ids"],
    [{ maxTokens: 0 }, "'maxTokens'"],
    [{ minTokens: 5, maxTokens: 4 }, "Expected 'minTokens' to be at most 'maxTokens' (4) but received 5"],
    [{ ignoreEos: 1 }, "'ignoreEos' to be true or false but received 1"],
    [{ logprobs: 101 }, "'logprobs' to be at most the vocabulary's size (100)"],
    [{ promptLogprobs: 1 }, "'promptLogprobs'"],
    [{ logitBias: { 100: 1 } }, '\'logitBias\' to be keyed by token ids from 0 to 99 but received "100"'],
    [{ logitBias: { 1: Number.POSITIVE_INFINITY } }, "'logitBias[1]' to be a number or -Infinity"],
    [{ logitBias: [1] }, "'logitBias'"],
    [{ allowedTokenIds: [] }, "'allowedTokenIds' to be at least one token id"],
    [{ allowedTokenIds: [-1] }, "'allowedTokenIds'"],
  ])('refuses %j', (input, message) => {
    let error: unknown;
    try {
      samplingParams(input as never, 100);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(ArgumentError);
    expect((error as ArgumentError).message).toContain(message);
    expect((error as ArgumentError).message).not.toContain('\n');
  });

  it.each(['text', 3, null, []])('refuses %j as parameters', (input) => {
    expect(() => samplingParams(input as never)).toThrow("Expected 'sampling' to be an object");
  });
});

describe('sampleSeed', () => {
  it('depends on seed and index, or else on engine seed, request and index', () => {
    expect(sampleSeed(0, 'a', 7, 0)).toEqual(sampleSeed(1, 'b', 7, 0));
    const seeds = [
      sampleSeed(0, 'a', null, 0),
      sampleSeed(0, 'a', null, 1),
      sampleSeed(0, 'b', null, 0),
      sampleSeed(1, 'a', null, 0),
      sampleSeed(0, 'a', 7, 0),
      sampleSeed(0, 'a', 7, 1),
      sampleSeed(0, 'a', 8, 0),
    ];
    expect(new Set(seeds.map(String)).size).toBe(seeds.length);
  });
});

import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { activationBytes } from '../../src/engine/activations.js';
import { Engine } from '../../src/engine/engine.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { createEngine, fixtures, type TinyModel, tinyModel } from './tiny_model.js';

interface Golden {
  documents: number[][];
  logprobs: (number | null)[][];
  greedy: { tokens: number[]; logprobs: number[] }[];
}

const golden = (name: string) => JSON.parse(readFileSync(`${fixtures}/golden/${name}.json`, 'utf8')) as Golden;

describe.each(['tied', 'linear', 'llama3', 'yarn', 'bias', 'sharded', 'chat'])('the reference model %s', (name) => {
  it('continues greedily with the same tokens, and scores prompts alike', async () => {
    const loaded = await tinyModel(name);
    const { documents, logprobs, greedy } = golden(name);
    const engine = createEngine(loaded);
    const sampling = { temperature: 0, maxTokens: 20, ignoreEos: true, logprobs: 0, promptLogprobs: true };
    const completions = await engine.generateAll(
      documents.filter((_, i) => greedy[i]),
      sampling,
    );
    expect(completions.length).toBeGreaterThan(0);
    let at = 0;
    documents.forEach((document, i) => {
      if (!greedy[i]) return;
      const completion = completions[at++]!;
      expect(completion.error).toBeUndefined();
      expect(completion.promptTokens).toBe(document.length);
      expect(completion.tokens).toEqual(greedy[i].tokens);
      completion.logprobs!.forEach(({ token, logprob }, t) => {
        expect(token).toBe(greedy[i]!.tokens[t]);
        expect(logprob).toBeCloseTo(greedy[i]!.logprobs[t]!, 4);
      });
      expect(completion.promptLogprobs).toHaveLength(document.length);
      completion.promptLogprobs!.forEach((logprob, t) => {
        if (t === 0) expect(logprob).toBeNull();
        else expect(logprob).toBeCloseTo(logprobs[i]![t]!, 4);
      });
    });
    await engine.close();
    await loaded.close();
  });
});

describe('Engine', () => {
  let loaded: TinyModel;
  beforeAll(async () => {
    loaded = await tinyModel('chat');
  });
  afterAll(() => loaded.close());

  it('says at start what memory goes where', async () => {
    const engine = createEngine(loaded, { maxNumSeqs: 4 });
    expect(engine.startupReport()).toMatch(
      /^Engine on cpu: .+ in f32, weights \d+ KiB; KV cache \d+ KiB \(all that 4 sequences can use\): 512 tokens in 32 blocks of 16; context 128 tokens; activations up to \d+(\.\d)? [KM]iB, \d+(\.\d)? GiB stay free; up to 4 sequences and 2048 tokens per step; prefix cache on$/,
    );
    await engine.close();
  });

  it.each([
    ['many tokens', 16, 2048, 100],
    ['many sequences', 128, 128, 1],
  ])('estimates what activations take: %s', async (_, maxNumSeqs, maxNumBatchedTokens, length) => {
    const own = await tinyModel('chat'); // a device whose peak is its own
    const engine = createEngine(own, { maxNumSeqs, maxNumBatchedTokens });
    const before = engine.statistics().memory;
    expect(before.peakBytes).toBe(before.liveBytes); // weights and cache
    const prompts = Array.from({ length: maxNumSeqs }, (_, i) =>
      Array.from({ length }, (_, t) => 3 + ((7 * i + t) % 90)),
    );
    await engine.generateAll(prompts, { maxTokens: 1 });
    const { peakBytes, liveBytes, kvBytes, scratchBytes } = engine.statistics().memory;
    expect(engine.statistics().steps).toBe(1);
    const estimate = activationBytes(own.model, maxNumSeqs * length, maxNumSeqs);
    expect((peakBytes - liveBytes) / estimate).toBeGreaterThan(0.7);
    expect((peakBytes - liveBytes) / estimate).toBeLessThan(1.2);
    expect([kvBytes > 0, kvBytes < liveBytes, scratchBytes > 0]).toEqual([true, true, true]);
    await engine.close();
    await own.close();
  });

  it.each([
    [
      { maxNumSeq: 4 },
      "Expected 'maxNumSeq' to be one of the options of the engine but received \"maxNumSeq\" (did you mean 'maxNumSeqs'?)",
    ],
    [{ maxNumSeqs: 0 }, "Expected 'maxNumSeqs' to be an integer of at least 1 but received 0"],
    [
      { maxNumSeqs: 64, maxNumBatchedTokens: 10 },
      "Expected 'maxNumBatchedTokens' to be at least 'maxNumSeqs' (64) but received 10",
    ],
    [{ kvCacheBytes: 10 }, "Expected 'kvCacheBytes' to be enough for one sequence"],
    [{ seed: 0.5 }, "'seed'"],
    [{ cudagraphCaptureSizes: [4, 0] }, "'cudagraphCaptureSizes' to be an integer of at least 1 but received 0"],
  ])('refuses %j', (options, message) => {
    expect(() => Engine.create(loaded, options as never)).toThrow(message);
  });

  it('records decode steps anew when an adapter comes or goes', async () => {
    const own = await tinyModel('chat');
    const sampling = { maxTokens: 12, temperature: 0, ignoreEos: true };
    const prompts = Array.from({ length: 3 }, (_, i) => [5 + i, 6, 7]);
    const engine = createEngine(own, { cudagraphCaptureSizes: [2, 4] });
    const tokens = async (from: Engine) => (await from.generateAll(prompts, sampling)).map((one) => one.tokens);
    const before = await tokens(engine);
    const module = own.model.linears.get('model.layers.0.mlp.up_proj')!;
    const [outputs, inputs] = module.weight.shape as [number, number];
    const wave = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * i));
    using a = Tensor.from(own.device, wave(2 * inputs), [2, inputs]);
    using b = Tensor.from(own.device, wave(2 * outputs), [outputs, 2]);
    module.adapter = { a, b, scale: 3, dropout: 0, seed: 0 };
    own.model.weightsChanged();
    const adapted = await tokens(engine);
    expect(adapted).not.toEqual(before);
    const eager = createEngine(own, { enforceEager: true });
    expect(adapted).toEqual(await tokens(eager));
    module.adapter = null;
    own.model.weightsChanged();
    expect(await tokens(engine)).toEqual(before);
    expect([engine.statistics().recordedSteps, eager.statistics().recordedSteps]).toEqual([33, 0]);
    await engine.close();
    await eager.close();
    await own.close();
  });

  it('takes conversations and text, and gives text back', async () => {
    const engine = createEngine(loaded);
    const messages = [{ role: 'user', content: 'Two and two?' }];
    const sampling = { maxTokens: 12, temperature: 0.8 };
    const rendered = loaded.chatTemplate!.render(messages, { addGenerationPrompt: true });
    const tokens = loaded.tokenizer!.encode(rendered, { addSpecialTokens: false });
    const thinking = loaded.tokenizer!.encode('<think>', { addSpecialTokens: false });
    const [chat, asTokens, continued, continuedTokens] = await engine.generateAll([
      { id: 'a', prompt: messages, sampling: { ...sampling, seed: 5 } },
      { id: 'b', prompt: tokens, sampling: { ...sampling, seed: 5 } },
      { id: 'c', prompt: messages, continuation: '<think>', sampling: { ...sampling, seed: 6 } },
      { id: 'd', prompt: [...tokens, ...thinking], sampling: { ...sampling, seed: 6 } },
    ]);
    expect({ ...chat, id: '' }).toEqual({ ...asTokens, id: '' });
    expect({ ...continued, id: '' }).toEqual({ ...continuedTokens, id: '' });
    const ended = chat!.finishReason === 'stop' ? chat!.tokens.slice(0, -1) : chat!.tokens;
    expect(chat!.text).toBe(loaded.tokenizer!.decode(ended));
    expect(chat!.text.length).toBeGreaterThan(0);
    await engine.close();
  });

  it('ends at the end-of-sequence tokens of the model, at stop strings and at stop tokens', async () => {
    const engine = createEngine(loaded);
    const prompt = [24, 60, 99];
    const sampling = { maxTokens: 60, seed: 11, ignoreEos: true };
    const [free] = await engine.generateAll([prompt], sampling);
    expect(free!.finishReason).toBe('length');
    const eos = { ...sampling, ignoreEos: false, logitBias: { 0: 3, 2: 3 } };
    const [ended] = await engine.generateAll([prompt], eos);
    expect(ended!.finishReason).toBe('stop');
    expect([0, 2]).toContain(ended!.tokens.at(-1));
    const stop = free!.text.slice(10, 14);
    const [cut] = await engine.generateAll([prompt], { ...sampling, stop: [stop] });
    expect([cut!.finishReason, cut!.text]).toEqual(['stop', free!.text.slice(0, free!.text.indexOf(stop))]);
    expect(free!.tokens.slice(0, cut!.tokens.length)).toEqual(cut!.tokens);
    const token = free!.tokens[20]!;
    const [halted] = await engine.generateAll([prompt], { ...sampling, stopTokenIds: [token] });
    expect(halted!.tokens).toEqual(free!.tokens.slice(0, free!.tokens.indexOf(token) + 1));
    await engine.close();
  });

  it('keeps to allowedTokenIds and minTokens', async () => {
    const engine = createEngine(loaded);
    const [allowed, late] = await engine.generateAll([
      { id: 'a', prompt: [5], sampling: { maxTokens: 40, allowedTokenIds: [40, 41, 2] } },
      { id: 'b', prompt: [5], sampling: { maxTokens: 60, minTokens: 30, logitBias: { 2: 8 } } },
    ]);
    for (const token of allowed!.tokens) expect([40, 41, 2]).toContain(token);
    expect(late!.tokens.slice(0, 30)).not.toContain(2);
    expect([late!.finishReason, late!.tokens.length]).toEqual(['stop', 31]);
    await engine.close();
  });

  it('reports log-probabilities of the raw distribution', async () => {
    const engine = createEngine(loaded);
    const [all, some] = await engine.generateAll(
      [
        { id: 'a', prompt: [5, 9], sampling: { logprobs: 320, seed: 1 } },
        { id: 'b', prompt: [5, 9], sampling: { logprobs: 2, seed: 1, temperature: 0.7, topK: 5 } },
      ],
      { maxTokens: 3 },
    );
    for (const { token, logprob, top } of all!.logprobs!) {
      expect(top!.reduce((sum, one) => sum + Math.exp(one.logprob), 0)).toBeCloseTo(1, 4);
      expect(top!.find((one) => one.token === token)!.logprob).toBe(logprob);
    }
    expect(some!.logprobs![0]!.top).toEqual(all!.logprobs![0]!.top!.slice(0, 2));
    await engine.close();
  });

  it('ends at the end of the context and refuses a prompt that fills it', async () => {
    const engine = createEngine(loaded);
    const prompt = Array.from({ length: 128 }, (_, i) => 3 + i);
    const [tooLong, last] = await engine.generateAll([prompt, prompt.slice(0, 127)], { ignoreEos: true });
    expect([tooLong!.finishReason, tooLong!.error]).toEqual([
      'error',
      'Expected a prompt of at most 127 tokens (the context holds 128) but received 128; shorten it',
    ]);
    expect([last!.finishReason, last!.tokens.length]).toEqual(['length', 1]);
    await engine.close();
  });
});

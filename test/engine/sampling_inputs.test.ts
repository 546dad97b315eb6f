import { describe, expect, it } from 'vitest';
import { Request } from '../../src/engine/request.js';
import { SamplingPacker } from '../../src/engine/sampling_inputs.js';
import { type SamplingParams, samplingParams } from '../../src/engine/sampling_params.js';

function row(sampling: Partial<SamplingParams>, prompt: number[], output: number[]) {
  const request = new Request({ id: 'r', prompt, sampling: samplingParams(sampling), maxLength: 1000 });
  const sequence = request.sequences[0]!;
  for (const token of output) sequence.append(token);
  return { sequence, row: 0, position: sequence.length, lastSampled: -1 };
}

describe('SamplingPacker', () => {
  it('packs parameters, seeds and the place of the token', () => {
    const packer = new SamplingPacker(4, 40, [2]);
    const rows = [
      row({ temperature: 0.5, topP: 0.75, minP: 0.25, topK: 7 }, [1], []),
      row({ topK: -1, presencePenalty: 1, frequencyPenalty: 0.5, repetitionPenalty: 2 }, [1], [3, 4]),
    ];
    const inputs = packer.pack(rows);
    expect(Array.from(inputs.floats)).toEqual([0.5, 0.75, 0.25, 0, 0, 1, 0, 0, 1, 1, 0, 1, 0.5, 2, 0, 0]);
    const seed = rows[0]!.sequence.seed;
    expect(Array.from(inputs.ints)).toEqual([7, ...seed, 0, 0, ...seed, 2]);
    expect(inputs).toMatchObject({ bias: null, allowedMask: null, wantsLogprobs: false, topCount: 0 });
  });

  it('gives a history to the rows that have a penalty', () => {
    const inputs = new SamplingPacker(4, 40, [2]).pack([
      row({}, [1, 2], [3]),
      row({ repetitionPenalty: 2 }, [5, 6], [7]),
      row({ presencePenalty: 1 }, [8, 9], [10, 11]),
      row({ frequencyPenalty: 1 }, [12], []),
    ]);
    expect(Array.from(inputs.history)).toEqual([5, 6, 7, 10, 11]);
    expect(Array.from(inputs.historyOffsets)).toEqual([0, 0, 0, 2, 3, 3, 5, 5, 5]);
  });

  it('forbids what would end the text before minTokens', () => {
    const packer = new SamplingPacker(4, 40, [2]);
    const early = row({ minTokens: 2, stopTokenIds: [9] }, [1], [3]);
    const late = row({ minTokens: 2, stopTokenIds: [9] }, [1], [3, 3]);
    const biased = row({ logitBias: { 5: 1.5, 6: -2 }, minTokens: 1, ignoreEos: true }, [1], []);
    const { bias } = packer.pack([late, early, biased]);
    expect(Array.from(bias!.tokens)).toEqual([9, 2, 5, 6]);
    expect(Array.from(bias!.values)).toEqual([-Infinity, -Infinity, 1.5, -2]);
    expect(Array.from(bias!.offsets)).toEqual([0, 0, 2, 4]);
    expect(packer.pack([late]).bias).toBeNull();
  });

  it('makes a mask of allowed tokens', () => {
    const inputs = new SamplingPacker(4, 40, [2]).pack([
      row({}, [1], []),
      row({ allowedTokenIds: [0, 31, 32] }, [1], []),
    ]);
    expect(Array.from(inputs.allowedMask!)).toEqual([-1, -1, -2147483647, 1]);
  });

  it('reports as many alternatives as the most curious row wants', () => {
    const rows = [row({ logprobs: 0 }, [1], []), row({ logprobs: 3 }, [1], []), row({}, [1], [])];
    expect(new SamplingPacker(4, 40, [2]).pack(rows)).toMatchObject({ wantsLogprobs: true, topCount: 3 });
  });
});

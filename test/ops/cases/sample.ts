import { input, integers, normal, output } from '../harness/data.js';
import { logprobsOf, ranking, type SampleRow, sampleRow } from '../harness/sample.js';
import type { OpCase, OpCases, References, TensorSpec } from '../harness/types.js';

function rowOf(references: References, b: number): SampleRow {
  const { logits, floats, ints, history, historyOffsets, biasTokens, biasValues, biasOffsets, allowedMask } =
    references;
  const [B, V] = logits!.shape as [number, number];
  const at = (name: Float64Array, index: number): number => name[index]!;
  const [temperature, topP, minP, presencePenalty, frequencyPenalty, repetitionPenalty] = floats!.data.subarray(8 * b);
  const [topK, seedLow, seedHigh, outputIndex] = ints!.data.subarray(4 * b);
  const offsets = [...historyOffsets!.data];
  const words = allowedMask ? allowedMask.data.subarray((b * allowedMask.data.length) / B) : null;
  const bias: [number, number][] = [];
  if (biasOffsets)
    for (let i = at(biasOffsets.data, b); i < at(biasOffsets.data, b + 1); i += 1)
      bias.push([at(biasTokens!.data, i), at(biasValues!.data, i)]);
  return {
    logits: logits!.data.subarray(b * V, (b + 1) * V),
    temperature: temperature!,
    topP: topP!,
    minP: minP!,
    presencePenalty: presencePenalty!,
    frequencyPenalty: frequencyPenalty!,
    repetitionPenalty: repetitionPenalty!,
    topK: topK!,
    seed: [seedLow!, seedHigh!],
    outputIndex: outputIndex!,
    prompt: [...history!.data.subarray(offsets[2 * b], offsets[2 * b + 1])],
    output: [...history!.data.subarray(offsets[2 * b + 1], offsets[2 * b + 2])],
    bias,
    allowed: (token) => !words || ((words[token >> 5]! >> (token & 31)) & 1) === 1,
  };
}

function reference(references: References): void {
  const { logits, tokens, logprobs, topTokens, topLogprobs } = references;
  const B = logits!.shape[0]!;
  const L = topTokens?.shape[1] ?? 0;
  for (let b = 0; b < B; b += 1) {
    const row = rowOf(references, b);
    const finite = row.logits.every((logit) => logit < Infinity) && row.logits.some((logit) => logit > -Infinity);
    const all = finite ? logprobsOf(row.logits) : row.logits;
    const token = finite ? sampleRow(row) : -1;
    tokens!.data[b] = token;
    logprobs!.data[b] = token < 0 ? Number.NaN : all[token]!;
    const best = finite ? ranking(all) : [];
    for (let place = 0; place < L; place += 1) {
      topTokens!.data[b * L + place] = best[place] ?? -1;
      topLogprobs!.data[b * L + place] = place >= best.length ? (finite ? -Infinity : Number.NaN) : all[best[place]!]!;
    }
  }
  // A log-probability is a logit minus a log-sum-exp: its errors are relative to those.
  for (const result of [logprobs!, topLogprobs])
    if (result) result.magnitude = result.data.map((value) => Math.abs(value) + 20);
}

interface Row {
  temperature?: number;
  topP?: number;
  minP?: number;
  presence?: number;
  frequency?: number;
  repetition?: number;
  topK?: number;
  prompt?: number[];
  output?: number[];
}

/** Rows of parameters over the logits; row b draws with a seed and an index of its own. */
function tensors(logits: TensorSpec, rows: Row[], L = 0): OpCase['tensors'] {
  const B = rows.length;
  const offsets = [0];
  for (const { prompt = [], output: made = [] } of rows)
    offsets.push(offsets.at(-1)! + prompt.length, offsets.at(-1)! + prompt.length + made.length);
  const history = rows.flatMap(({ prompt = [], output: made = [] }) => [...prompt, ...made]);
  return {
    logits,
    floats: input(
      'f32',
      [B, 8],
      rows.flatMap((row) => [
        ...[row.temperature ?? 1, row.topP ?? 1, row.minP ?? 0],
        ...[row.presence ?? 0, row.frequency ?? 0, row.repetition ?? 1, 0, 0],
      ]),
    ),
    ints: input(
      'i32',
      [B, 4],
      rows.flatMap((row, b) => [row.topK ?? 0, (b * 0x9e3779b9) | 0, (b * 0x85ebca6b) | 0, 3 * b]),
    ),
    history: input('i32', [history.length], history),
    historyOffsets: input('i32', [2 * B + 1], offsets),
    tokens: output('i32', [B]),
    logprobs: output('f32', [B]),
    ...(L > 0 ? { topTokens: output('i32', [B, L]), topLogprobs: output('f32', [B, L]) } : {}),
  };
}

const repeat = (count: number, row: Row): Row[] => Array.from({ length: count }, () => row);
/** One case of many rows with one set of parameters: normal logits, as spread out as those of a model. */
const many = (name: string, row: Row, V = 503): OpCase => ({
  name,
  tensors: tensors(input('f32', [64, V], normal(1, 3)), repeat(64, row), 3),
});

export const cases: OpCases = {
  op: 'sample',
  reference,
  // The log-sum-exp: up to 32 additions in a lane of a tile and a tree, then the tiles.
  roundings: { f32: 60 },
  gradient: 'not differentiable',
  cases: [
    { ...many('64 rows of 503 logits', {}), kind: 'odd' },
    many('temperature 0.6', { temperature: 0.6 }),
    many('a temperature that leaves one token', { temperature: 1e-30 }),
    many('top-k 1', { topK: 1 }),
    many('top-k 40', { topK: 40 }),
    many('top-k beyond the vocabulary', { topK: 1000 }),
    many('top-p 0.9', { topP: 0.9 }),
    many('top-p 0.999, hot', { topP: 0.999, temperature: 4 }),
    many('top-p 0 keeps the best', { topP: 0 }),
    many('min-p 0.05', { minP: 0.05 }),
    many('top-k, top-p, min-p and temperature', { topK: 50, topP: 0.95, minP: 0.02, temperature: 0.8 }),
    many('top-k, then top-p within the last bucket', { topK: 300, topP: 0.97, temperature: 50 }),
    many('a vocabulary of several tiles', { topP: 0.95, temperature: 1.5 }, 5003),
    many('a large vocabulary', { topK: 20, topP: 0.95, temperature: 0.6 }, 20_011),
    {
      name: 'penalties',
      tensors: tensors(
        input('f32', [64, 101], normal(1, 3)),
        Array.from({ length: 64 }, (_, b) => ({
          temperature: 0.7,
          presence: 0.4,
          frequency: 0.3,
          repetition: 1.3,
          prompt: [...integers(b, 0, 101)(20)],
          output: [...integers(b + 100, 0, 101)(40)],
        })),
      ),
    },
    {
      name: 'the most likely under penalties',
      tensors: tensors(
        input('f32', [4, 5], normal(1)),
        repeat(4, { temperature: 0, frequency: 2, prompt: [0, 1], output: [2, 3, 3] }),
      ),
    },
    {
      name: 'greedy, the lowest id among equals',
      tensors: tensors(
        input('f32', [2, 6], [1, 3, 2, 3, 3, 0, -1, -2, -1, -1, -5, -1]),
        repeat(2, { temperature: 0 }),
        6,
      ),
    },
    {
      name: 'greedy over several tiles',
      tensors: tensors(input('f32', [5, 1801], normal(8)), repeat(5, { temperature: 0 }), 20),
    },
    {
      name: 'rows that are not numbers, infinite or hopeless',
      tensors: tensors(
        input(
          'f32',
          [4, 3],
          [1, Number.NaN, 2, 1, Infinity, 2, -Infinity, -Infinity, -Infinity, 0, -Infinity, -Infinity],
        ),
        repeat(4, { topP: 0.9 }),
        2,
      ),
    },
    {
      name: 'equal logits, cut by top-k and top-p',
      tensors: tensors(
        input('f32', [64, 75], (n) => new Float64Array(n).fill(0.5)),
        Array.from({ length: 64 }, (_, b) => (b % 2 ? { topK: 10 } : { topP: 0.3 })),
      ),
    },
    {
      name: 'a bias and a mask',
      tensors: {
        ...tensors(input('f32', [3, 70], normal(5)), [{}, { temperature: 0 }, { topK: 5 }], 2),
        biasTokens: input('i32', [4], [69, 3, 3, 10]),
        biasValues: input('f32', [4], [4, -100, 2, 5]),
        biasOffsets: input('i32', [4], [0, 1, 2, 4]),
        allowedMask: input('i32', [3, 3], [-1, -1, -1, 0x5555_5555, 0x0f0f_0f0f, 1, 1 << 10, -(2 ** 31), 0]),
      },
    },
    {
      name: 'a mask that allows nothing in one row',
      tensors: {
        ...tensors(input('f32', [2, 33], normal(5)), [{ topK: 4 }, { temperature: 0 }], 2),
        allowedMask: input('i32', [2, 2], [0, 0, 0, 1]),
      },
    },
    {
      name: 'more alternatives than tokens',
      tensors: tensors(input('f32', [1, 3], [0.1, 0.3, 0.2]), [{}], 5),
    },
    {
      name: 'logits narrowed out of wider rows',
      tensors: tensors(input('f32', [7, 45], normal(2), { view: 'last' }), repeat(7, { topP: 0.8 }), 2),
    },
    { name: 'no rows', kind: 'empty', tensors: tensors(input('f32', [0, 11], []), [], 2) },
    { name: 'one token to choose from', kind: 'one', tensors: tensors(input('f32', [1, 1], [-3]), [{ topP: 0.5 }], 1) },
  ],
  bad: [
    {
      name: 'parameters of too few rows',
      tensors: { ...tensors(input('f32', [3, 9], normal(1)), repeat(3, {})), floats: input('f32', [2, 8], normal(1)) },
      message: "sample: Expected 'floats' to have shape [3, 8] but received [2, 8]",
    },
    {
      name: 'a bias without its values',
      tensors: { ...tensors(input('f32', [1, 9], normal(1)), [{}]), biasTokens: input('i32', [1], [1]) },
      message: "sample: Expected 'biasValues' to come with 'biasTokens' but received nothing",
    },
    {
      name: 'a mask for another vocabulary',
      tensors: { ...tensors(input('f32', [1, 33], normal(1)), [{}]), allowedMask: input('i32', [1, 1], [1]) },
      message: "sample: Expected 'allowedMask' to have shape [1, 2] but received [1, 1]",
    },
    {
      name: 'alternatives without their log-probabilities',
      tensors: { ...tensors(input('f32', [1, 9], normal(1)), [{}]), topTokens: output('i32', [1, 3]) },
      message: "sample: Expected 'topLogprobs' to come with 'topTokens' but received nothing",
    },
  ],
};

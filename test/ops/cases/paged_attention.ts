import { input, narrowed, normal, output } from '../harness/data.js';
import { fp8Numbers, nearestFp8 } from '../harness/fp8.js';
import type { OpCase, OpCases, Reference, References } from '../harness/types.js';
import { attend, attributesOf, bounds, roundingsOf, type Shape } from './attention.js';

function reference(tensors: References, { scale, window }: Record<string, number>): void {
  const { q, keyCache, valueCache, blockTable, cuSeqlens, contextLengths } = tensors;
  const [, blockSize, G] = keyCache!.shape as [number, number, number];
  const H = q!.shape[1]!;
  const maxBlocks = blockTable!.shape[1]!;
  const numbers = (cache: Reference): Reference =>
    cache.dtype === 'fp8' ? { ...cache, data: cache.data.map((code) => fp8Numbers[code]!) } : cache;
  attend(tensors, numbers(keyCache!), numbers(valueCache!), scale!, {
    keysOf(token, head) {
      let sequence = 0;
      while (cuSeqlens!.data[sequence + 1]! <= token) sequence += 1;
      const position = contextLengths!.data[sequence]! - (cuSeqlens!.data[sequence + 1]! - token);
      const rows = [];
      for (let key = window === 0 ? 0 : Math.max(0, position - window! + 1); key <= position; key += 1) {
        const block = blockTable!.data[sequence * maxBlocks + Math.floor(key / blockSize)]!;
        rows.push((block * blockSize + (key % blockSize)) * G + Math.floor(head / (H / G)));
      }
      return rows;
    },
  });
}

interface PagedShape extends Shape {
  /** Keys of each sequence, its query tokens (`lengths`) included. */
  contexts: number[];
  blockSize: number;
  /** Of the cache. Default: that of the queries. */
  cached?: 'fp8';
}

/** Blocks are handed out backwards; slots that no sequence has reached hold NaN. */
function pagedTensors(shape: PagedShape): OpCase['tensors'] {
  const { dtype, lengths, contexts, blockSize, H, G, D, sinks, view, cached } = shape;
  const blocks = contexts.map((length) => Math.ceil(length / blockSize));
  const total = blocks.reduce((sum, count) => sum + count, 1);
  const widest = Math.max(1, ...blocks);
  const table = new Array<number>(lengths.length * widest).fill(-5);
  const filled = new Set<number>();
  let next = total;
  for (const [b, length] of contexts.entries())
    for (let key = 0; key < length; key += 1) {
      if (key % blockSize === 0) table[b * widest + key / blockSize] = --next;
      filled.add(next * blockSize + (key % blockSize));
    }
  const stored = cached === undefined ? (x: number) => x : nearestFp8;
  const cache = (seed: number) => (count: number) =>
    normal(seed)(count).map((x, i) => stored(filled.has(Math.floor(i / (G * D))) ? x : Number.NaN));
  const T = bounds(lengths).at(-1)!;
  return {
    q: input(dtype, [T, H, D], normal(1), narrowed(view)),
    keyCache: input(cached ?? dtype, [total, blockSize, G, D], cache(2), narrowed(view)),
    valueCache: input(cached ?? dtype, [total, blockSize, G, D], cache(3), narrowed(view)),
    blockTable: input('i32', [lengths.length, widest], table),
    cuSeqlens: input('i32', [lengths.length + 1], bounds(lengths)),
    contextLengths: input('i32', [lengths.length], contexts),
    ...(sinks ? { sinks: input('f32', [H], normal(4)) } : {}),
    o: output(dtype, [T, H, D], narrowed(view)),
  };
}

function paged(name: string, shape: PagedShape, kind?: OpCase['kind']): OpCase {
  return {
    name,
    ...(kind ? { kind } : {}),
    tensors: pagedTensors(shape),
    attributes: attributesOf(shape),
    roundings: roundingsOf(shape),
  };
}

const odd: PagedShape = { dtype: 'f32', lengths: [1, 5, 67], contexts: [70, 9, 67], blockSize: 7, H: 3, G: 1, D: 10 };

export const cases: OpCases = {
  op: 'paged_attention',
  reference,
  roundings: { f32: 16 },
  gradient: 'not differentiable',
  cases: [
    paged('decode and two chunks, blocks of 7', odd, 'odd'),
    paged('no sequences', { dtype: 'f32', lengths: [], contexts: [], blockSize: 4, H: 2, G: 1, D: 8 }, 'empty'),
    paged('a sequence without queries', {
      dtype: 'f32',
      lengths: [0, 2],
      contexts: [3, 4],
      blockSize: 4,
      H: 2,
      G: 1,
      D: 8,
    }),
    paged('one element', { dtype: 'f32', lengths: [1], contexts: [1], blockSize: 1, H: 1, G: 1, D: 1 }, 'one'),
    paged('decode of 9 heads on 3, bf16', {
      dtype: 'bf16',
      lengths: [1, 1, 1],
      contexts: [200, 64, 65],
      blockSize: 16,
      H: 9,
      G: 3,
      D: 64,
    }),
    paged('decode and a chunk over 1100 and 1030 tokens, 20 heads on 1, bf16', {
      dtype: 'bf16',
      lengths: [1, 5, 1],
      contexts: [1100, 1030, 7],
      blockSize: 16,
      H: 20,
      G: 1,
      D: 64,
      sinks: true,
    }),
    paged('window over 1060 tokens, head size 128, bf16', {
      dtype: 'bf16',
      lengths: [1, 1],
      contexts: [1060, 80],
      blockSize: 32,
      H: 2,
      G: 2,
      D: 128,
      window: 50,
    }),
    paged('decode and a chunk on fp8, f32', { ...odd, cached: 'fp8', sinks: true }),
    paged('decode and a chunk on fp8, bf16', {
      dtype: 'bf16',
      cached: 'fp8',
      lengths: [1, 1, 5],
      contexts: [200, 64, 90],
      blockSize: 16,
      H: 8,
      G: 2,
      D: 64,
    }),
    paged('window and views on fp8', {
      dtype: 'bf16',
      cached: 'fp8',
      lengths: [3, 1],
      contexts: [90, 180],
      blockSize: 8,
      H: 4,
      G: 2,
      D: 20,
      window: 33,
      view: 'last',
    }),
    // So many sequences that one task takes all heads, with one thread and not with two.
    paged('decode of 6 sequences', {
      dtype: 'bf16',
      lengths: [1, 1, 1, 2, 1, 1],
      contexts: [70, 3, 129, 64, 65, 1],
      blockSize: 16,
      H: 6,
      G: 3,
      D: 32,
      sinks: true,
    }),
    paged('window and sinks', {
      dtype: 'bf16',
      lengths: [3, 1],
      contexts: [90, 180],
      blockSize: 8,
      H: 4,
      G: 2,
      D: 20,
      window: 33,
      sinks: true,
    }),
    paged('views along the last dimension', {
      dtype: 'f32',
      lengths: [2],
      contexts: [11],
      blockSize: 4,
      H: 2,
      G: 2,
      D: 6,
      view: 'last',
    }),
  ],
  bad: [
    {
      name: 'a block table for other sequences',
      tensors: { ...pagedTensors(odd), blockTable: input('i32', [2, 10], new Array(20).fill(0)) },
      attributes: { scale: 1, window: 0 },
      message: "paged_attention: Expected 'blockTable' to have shape [3, 10] but received [2, 10]",
    },
    {
      name: 'a cache of another dtype',
      tensors: {
        ...pagedTensors(odd),
        keyCache: input('bf16', [23, 7, 1, 10], normal(1)),
        valueCache: input('bf16', [23, 7, 1, 10], normal(1)),
      },
      attributes: { scale: 1, window: 0 },
      message: "paged_attention: Expected 'keyCache' to have the dtype of 'q', f32, or be fp8 but received bf16",
    },
    {
      name: 'lengths of other sequences',
      tensors: { ...pagedTensors(odd), contextLengths: input('i32', [2], [1, 5]) },
      attributes: { scale: 1, window: 0 },
      message: "paged_attention: Expected 'contextLengths' to have shape [3] but received [2]",
    },
    {
      name: 'a value cache of another shape',
      tensors: { ...pagedTensors(odd), valueCache: input('f32', [2, 7, 1, 10], normal(1)) },
      attributes: { scale: 1, window: 0 },
      message:
        "paged_attention: Expected 'valueCache' to have the shape of 'keyCache', [23, 7, 1, 10] but received [2, 7, 1, 10]",
    },
  ],
};

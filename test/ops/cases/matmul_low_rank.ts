import { inout, input, normal, output } from '../harness/data.js';
import type { OpCase, OpCases, References, TensorSpec } from '../harness/types.js';

function reference(
  { a, b, inner, outer, c }: References,
  { transposeB, accumulate, alpha }: Record<string, number>,
): void {
  const [M, N] = c!.shape as [number, number];
  c!.magnitude = new Float64Array(M * N);
  for (let i = 0; i < M; i += 1)
    for (let j = 0; j < N; j += 1) {
      let sum = accumulate ? c!.data[i * N + j]! : 0;
      let magnitude = Math.abs(sum);
      for (const [left, right, factor] of [
        [a!, b!, 1],
        [inner!, outer!, alpha!],
      ] as const) {
        const K = left.shape[1]!;
        for (let k = 0; k < K; k += 1) {
          const term = factor * left.data[i * K + k]! * right.data[transposeB ? j * K + k : k * N + j]!;
          sum += term;
          magnitude += Math.abs(term);
        }
      }
      c!.data[i * N + j] = sum;
      c!.magnitude[i * N + j] = magnitude;
    }
}

interface Options {
  transposeB?: boolean;
  accumulate?: boolean;
  to?: 'f32' | 'bf16';
  view?: Partial<TensorSpec>;
}

function product(
  name: string,
  dtype: 'f32' | 'bf16',
  [M, N, K, R]: readonly [number, number, number, number],
  { transposeB = true, accumulate = false, to = dtype, view = {} }: Options = {},
): OpCase {
  const right = (depth: number, seed: number) => input(dtype, transposeB ? [N, depth] : [depth, N], normal(seed), view);
  return {
    name,
    tensors: {
      a: input(dtype, [M, K], normal(1), view),
      b: right(K, 2),
      inner: input(dtype, [M, R], normal(3), view),
      outer: right(R, 4),
      c: accumulate ? inout(to, [M, N], normal(5), view) : output(to, [M, N], view),
    },
    attributes: { transposeB: +transposeB, accumulate: +accumulate, alpha: 0.7, packed: 1 },
  };
}

const small = product('', 'f32', [2, 4, 3, 5]);

export const cases: OpCases = {
  op: 'matmul_low_rank',
  reference,
  // As matmul's.
  roundings: { f32: 30 },
  gradient: 'through the tape',
  cases: [
    { ...product('3×131×67 and 5 f32', 'f32', [3, 131, 67, 5]), kind: 'odd' },
    { ...product('no rows', 'f32', [0, 5, 3, 2]), kind: 'empty' },
    { ...product('one element', 'f32', [1, 1, 1, 1]), kind: 'one' },
    product('nothing to sum', 'f32', [3, 5, 0, 0]),
    product('two rows, bf16', 'bf16', [2, 77, 257, 9]),
    product('some rows, bf16', 'bf16', [19, 133, 1071, 16]),
    product('some rows, bf16 → f32', 'bf16', [19, 133, 64, 16], { to: 'f32' }),
    product('some rows, accumulated into bf16', 'bf16', [19, 133, 64, 7], { accumulate: true }),
    product('more rows than a task takes', 'f32', [530, 9, 5, 3]),
    product('more rows than a task takes, bf16', 'bf16', [530, 70, 66, 8], { accumulate: true }),
    product('a·b f32', 'f32', [10, 37, 45, 4], { transposeB: false }),
    product('a·b bf16, accumulated', 'bf16', [30, 67, 45, 4], { transposeB: false, accumulate: true }),
    product('views along the last dimension', 'bf16', [13, 35, 21, 6], { view: { view: 'last' } }),
    product('views along the first dimension', 'f32', [3, 35, 21, 6], { view: { view: 'first' }, accumulate: true }),
  ],
  bad: [
    {
      ...small,
      name: 'ranks that differ',
      tensors: { ...small.tensors, outer: input('f32', [4, 6], normal(1)) },
      message: "matmul_low_rank: Expected 'outer' to have shape [4, 5] but received [4, 6]",
    },
    {
      ...small,
      name: 'dtypes that differ',
      tensors: { ...small.tensors, inner: input('bf16', [2, 5], normal(1)) },
      message: "matmul_low_rank: Expected 'inner' to have the dtype of 'a', f32 but received bf16",
    },
    {
      ...small,
      name: 'a flag that is no flag',
      attributes: { transposeB: 1, accumulate: 0, alpha: 1, packed: 3 },
      message: "matmul_low_rank: Expected 'packed' to be 0 or 1 but received 3",
    },
  ],
};

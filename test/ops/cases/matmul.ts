import { constant, inout, input, normal, output } from '../harness/data.js';
import type { OpCase, OpCases, References, TensorSpec } from '../harness/types.js';

function reference({ a, b, c }: References, attributes: Record<string, number>): void {
  const { transposeA, transposeB, accumulate, alpha } = attributes;
  const [M, N] = c!.shape as [number, number];
  const K = a!.shape[transposeA ? 0 : 1]!;
  c!.magnitude = new Float64Array(M * N);
  for (let i = 0; i < M; i += 1)
    for (let j = 0; j < N; j += 1) {
      let sum = 0;
      let magnitude = 0;
      for (let k = 0; k < K; k += 1) {
        const left = a!.data[transposeA ? k * M + i : i * K + k]!;
        const product = left * b!.data[transposeB ? j * K + k : k * N + j]!;
        sum += product;
        magnitude += Math.abs(product);
      }
      const before = accumulate ? c!.data[i * N + j]! : 0;
      c!.data[i * N + j] = before + alpha! * sum;
      c!.magnitude[i * N + j] = Math.abs(before) + Math.abs(alpha!) * magnitude;
    }
}

interface Options {
  a?: Partial<TensorSpec>;
  b?: Partial<TensorSpec>;
  c?: Partial<TensorSpec>;
  transposeA?: boolean;
  transposeB?: boolean;
  accumulate?: boolean;
  alpha?: number;
}

function product(name: string, dtype: 'f32' | 'bf16', M: number, N: number, K: number, options: Options = {}): OpCase {
  const { transposeA = false, transposeB = true, accumulate = false, alpha = 1 } = options;
  const c = { dtype: options.c?.dtype ?? dtype, shape: [M, N] } as const;
  return {
    name,
    tensors: {
      a: input(dtype, transposeA ? [K, M] : [M, K], normal(1), options.a),
      b: input(dtype, transposeB ? [N, K] : [K, N], normal(2), options.b),
      c: accumulate ? inout(c.dtype, c.shape, normal(3), options.c) : output(c.dtype, c.shape, options.c),
    },
    attributes: { transposeA: +transposeA, transposeB: +transposeB, accumulate: +accumulate, alpha },
  };
}

const nan = (row: number, columns: number) => (count: number) =>
  normal(1)(count).map((x, i) => (Math.floor(i / columns) === row ? Number.NaN : x));

export const cases: OpCases = {
  op: 'matmul',
  reference,
  // A chain of K ≤ 1071 multiply-adds in blocks: its roundings walk at random, about √K of them.
  roundings: { f32: 30 },
  gradient: 'through the tape',
  cases: [
    { ...product('7×131×67 f32, a·bᵀ', 'f32', 7, 131, 67), kind: 'odd' },
    { ...product('no rows', 'f32', 0, 5, 3), kind: 'empty' },
    product('no columns', 'f32', 5, 0, 3),
    product('nothing to sum gives 0', 'f32', 3, 5, 0),
    product('nothing to sum leaves what is there', 'bf16', 3, 5, 0, { accumulate: true }),
    { ...product('one element', 'f32', 1, 1, 1), kind: 'one' },
    product('one element bf16', 'bf16', 1, 1, 1),
    product('19×33×257 bf16, a·bᵀ', 'bf16', 19, 33, 257),
    product('19×33×256 bf16 → f32', 'bf16', 19, 33, 256, { c: { dtype: 'f32' } }),
    product('9×17×12 f32 → bf16', 'f32', 9, 17, 12, { c: { dtype: 'bf16' } }),
    product('more than one block of K, f32', 'f32', 11, 35, 700),
    product('more than one block of K, bf16', 'bf16', 11, 35, 1071),
    product('more rows than a task takes', 'f32', 300, 9, 5),
    product('a·b f32', 'f32', 10, 37, 45, { transposeB: false }),
    product('a·b bf16', 'bf16', 10, 37, 45, { transposeB: false }),
    product('aᵀ·b f32', 'f32', 21, 40, 33, { transposeA: true, transposeB: false }),
    product('aᵀ·b bf16 → f32, accumulated', 'bf16', 21, 40, 33, {
      transposeA: true,
      transposeB: false,
      accumulate: true,
      c: { dtype: 'f32' },
    }),
    product('aᵀ·bᵀ bf16', 'bf16', 5, 34, 18, { transposeA: true }),
    product('accumulated, scaled', 'f32', 6, 50, 20, { accumulate: true, alpha: -0.37 }),
    product('accumulated into bf16', 'bf16', 6, 50, 20, { accumulate: true, alpha: 0.5 }),
    product('alpha 0 reads nothing into c', 'f32', 4, 6, 5, { alpha: 0 }),
    product('views along the last dimension', 'bf16', 13, 35, 21, {
      a: { view: 'last' },
      b: { view: 'last' },
      c: { view: 'last' },
    }),
    product('transposed views', 'f32', 13, 35, 21, {
      transposeA: true,
      transposeB: false,
      a: { view: 'last' },
      b: { view: 'last' },
      c: { view: 'first' },
    }),
    {
      ...product('a NaN stays in its row', 'f32', 9, 5, 6),
      tensors: {
        ...product('', 'f32', 9, 5, 6).tensors,
        a: input('f32', [9, 6], nan(3, 6)),
      },
    },
    {
      ...product('all ones count K', 'bf16', 3, 70, 576, { c: { dtype: 'f32' } }),
      tensors: {
        a: input('bf16', [3, 576], constant(1)),
        b: input('bf16', [70, 576], constant(1)),
        c: output('f32', [3, 70]),
      },
      roundings: { f32: 0 },
    },
  ],
  bad: [
    {
      name: 'inner dimensions that differ',
      tensors: { ...product('', 'f32', 2, 4, 3).tensors, b: input('f32', [4, 5], normal(1)) },
      attributes: { transposeA: 0, transposeB: 1, accumulate: 0, alpha: 1 },
      message: "matmul: Expected 'b' to have shape [4, 3] but received [4, 5]",
    },
    {
      name: 'c of another shape',
      tensors: { ...product('', 'f32', 2, 4, 3).tensors, c: output('f32', [4, 2]) },
      attributes: { transposeA: 0, transposeB: 1, accumulate: 0, alpha: 1 },
      message: "matmul: Expected 'c' to have shape [2, 4] but received [4, 2]",
    },
    {
      name: 'rank 3',
      tensors: { ...product('', 'f32', 2, 4, 3).tensors, a: input('f32', [1, 2, 3], normal(1)) },
      attributes: { transposeA: 0, transposeB: 1, accumulate: 0, alpha: 1 },
      message: "matmul: Expected 'a' to have rank 2 but received shape [1, 2, 3]",
    },
    {
      name: 'a flag that is no flag',
      tensors: product('', 'f32', 2, 4, 3).tensors,
      attributes: { transposeA: 0, transposeB: 2, accumulate: 0, alpha: 1 },
      message: "matmul: Expected 'transposeB' to be 0 or 1 but received 2",
    },
  ],
};

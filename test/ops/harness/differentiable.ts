/** The differentiable functions of src/ops, each beside the operation whose f64 reference says what it computes. */
import type { OpName } from '../../../src/native.js';
import { attention } from '../../../src/ops/attention.js';
import { tokenLogprobs } from '../../../src/ops/cross_entropy.js';
import { add, cast, exp, mul, scale } from '../../../src/ops/elementwise.js';
import { embedding } from '../../../src/ops/embedding.js';
import { logSoftmax } from '../../../src/ops/log_softmax.js';
import { loraLinear } from '../../../src/ops/lora.js';
import { addBias, linear } from '../../../src/ops/matmul.js';
import { QuantisedWeight, quantisedLinear } from '../../../src/ops/quantised.js';
import { sum } from '../../../src/ops/reduce.js';
import { reshape } from '../../../src/ops/reshape.js';
import { addRmsNorm, rmsNorm } from '../../../src/ops/rms_norm.js';
import { rotary } from '../../../src/ops/rotary.js';
import { siluMul } from '../../../src/ops/silu_mul.js';
import type { Tensor } from '../../../src/tensor/tensor.js';
import { expectedOf } from './compare.js';
import { elements, input, integers, normal, output } from './data.js';
import { dequantised, quantised } from './quantised.js';
import { casesOf } from './registry.js';
import type { TensorSpec } from './types.js';

type Tensors = Record<string, TensorSpec>;

export interface Differentiable {
  name: string;
  /** The operation it is built on. */
  op: OpName;
  /** Inputs, by the names of the operation's contract. */
  inputs: Tensors;
  /** Of which inputs gradients are wanted. */
  wanted: readonly string[];
  run(tensors: Record<string, Tensor>): Tensor;
  /** The result in f64. */
  reference(inputs: Tensors): Float64Array;
}

/** The reference of the operation itself, for a function that launches it and nothing else. */
const byCases =
  (op: OpName, outputs: Tensors, result: string, attributes: Record<string, number> = {}) =>
  (inputs: Tensors): Float64Array =>
    expectedOf(casesOf.get(op)!, { tensors: { ...inputs, ...outputs } }, attributes)[result]!.data;

const x = (shape: number[], seed = 1, scaleBy = 1) => input('f32', shape, normal(seed, scaleBy));
const pair = { a: x([5, 7]), b: x([5, 7], 2) };
const out = (shape: number[]) => ({ y: output('f32', shape) });

export const differentiable: Differentiable[] = [
  {
    name: 'add',
    op: 'add',
    inputs: pair,
    wanted: ['a', 'b'],
    run: ({ a, b }) => add(a!, b!),
    reference: byCases('add', out([5, 7]), 'y', { scale: 1 }),
  },
  {
    name: 'mul',
    op: 'mul',
    inputs: pair,
    wanted: ['a', 'b'],
    run: ({ a, b }) => mul(a!, b!),
    reference: byCases('mul', out([5, 7]), 'y'),
  },
  {
    name: 'scale',
    op: 'scale',
    inputs: { x: x([3, 9]) },
    wanted: ['x'],
    run: (tensors) => scale(tensors.x!, -0.75),
    reference: byCases('scale', out([3, 9]), 'y', { value: -0.75 }),
  },
  {
    name: 'exp',
    op: 'exp',
    inputs: { x: x([3, 9]) },
    wanted: ['x'],
    run: (tensors) => exp(tensors.x!),
    reference: byCases('exp', out([3, 9]), 'y'),
  },
  {
    name: 'cast, to the same dtype',
    op: 'copy',
    inputs: { x: x([3, 9]) },
    wanted: ['x'],
    run: (tensors) => scale(cast(tensors.x!, 'f32'), 1),
    reference: byCases('copy', out([3, 9]), 'y'),
  },
  {
    name: 'reshape',
    op: 'copy',
    inputs: { x: x([3, 10]) },
    wanted: ['x'],
    run: (tensors) => reshape(tensors.x!, [5, 6]),
    reference: byCases('copy', out([3, 10]), 'y'),
  },
  {
    name: 'sum',
    op: 'sum',
    inputs: { x: x([4, 11]) },
    wanted: ['x'],
    run: (tensors) => sum(tensors.x!),
    reference: byCases('sum', out([1]), 'y'),
  },
  {
    name: 'rmsNorm',
    op: 'rms_norm',
    inputs: { x: x([4, 19]), weight: x([19], 2) },
    wanted: ['x', 'weight'],
    run: ({ x, weight }) => rmsNorm(x!, weight!, 1e-5),
    reference: byCases('rms_norm', { ...out([4, 19]), invRms: output('f32', [4]) }, 'y', { eps: 1e-5 }),
  },
  {
    name: 'addRmsNorm, both of its results',
    op: 'add_rms_norm',
    inputs: { a: x([4, 19]), b: x([4, 19], 2), weight: x([19], 3) },
    wanted: ['a', 'b', 'weight'],
    run: ({ a, b, weight }) => {
      const { sum, normed } = addRmsNorm(a!, b!, weight!, 1e-5);
      return mul(normed, sum);
    },
    reference: (inputs) => {
      const outputs = { sum: output('f32', [4, 19]), y: output('f32', [4, 19]), invRms: output('f32', [4]) };
      const { sum, y } = expectedOf(
        casesOf.get('add_rms_norm')!,
        { tensors: { ...inputs, ...outputs } },
        { eps: 1e-5 },
      );
      return y!.data.map((value, index) => value * sum!.data[index]!);
    },
  },
  {
    name: 'addRmsNorm, its norm alone',
    op: 'add_rms_norm',
    inputs: { a: x([4, 19]), b: x([4, 19], 2), weight: x([19], 3) },
    wanted: ['a', 'b', 'weight'],
    run: ({ a, b, weight }) => addRmsNorm(a!, b!, weight!, 1e-5).normed,
    reference: byCases(
      'add_rms_norm',
      { ...out([4, 19]), sum: output('f32', [4, 19]), invRms: output('f32', [4]) },
      'y',
      { eps: 1e-5 },
    ),
  },
  {
    name: 'siluMul',
    op: 'silu_mul',
    inputs: { gate: x([5, 13]), up: x([5, 13], 2) },
    wanted: ['gate', 'up'],
    run: ({ gate, up }) => siluMul(gate!, up!),
    reference: byCases('silu_mul', out([5, 13]), 'y'),
  },
  {
    name: 'embedding',
    op: 'embedding',
    inputs: { table: x([6, 9]), ids: input('i32', [8], integers(3, 0, 6)) },
    wanted: ['table'],
    run: ({ table, ids }) => embedding(table!, ids!),
    reference: byCases('embedding', out([8, 9]), 'y'),
  },
  {
    name: 'rotary',
    op: 'rotary',
    inputs: { x: x([3, 2, 11]), cosSin: x([3, 6], 2) },
    wanted: ['x'],
    run: ({ x, cosSin }) => rotary(x!, cosSin!),
    reference: byCases('rotary', out([3, 2, 11]), 'y', { direction: 1 }),
  },
  {
    name: 'linear',
    op: 'matmul',
    inputs: { a: x([5, 7]), b: x([6, 7], 2) },
    wanted: ['a', 'b'],
    run: ({ a, b }) => linear(a!, b!),
    reference: ({ a, b }) => times(a!.data!, b!.data!, 5, 7, 6),
  },
  {
    name: 'addBias',
    op: 'matmul',
    inputs: { y: x([5, 7]), bias: x([7], 2) },
    wanted: ['y', 'bias'],
    run: ({ y, bias }) => addBias(y!, bias!),
    reference: ({ y, bias }) => y!.data!.map((value, index) => value + bias!.data![index % 7]!),
  },
  {
    name: 'attention',
    op: 'attention',
    inputs: {
      q: x([7, 2, 5]),
      k: x([7, 1, 5], 2),
      v: x([7, 1, 5], 3),
      cuSeqlens: input('i32', [3], [0, 4, 7]),
    },
    wanted: ['q', 'k', 'v'],
    run: ({ q, k, v, cuSeqlens }) => attention(q!, k!, v!, cuSeqlens!, { scale: 0.4, window: 3 }),
    reference: byCases('attention', { o: output('f32', [7, 2, 5]), lse: output('f32', [7, 2]) }, 'o', {
      scale: 0.4,
      window: 3,
    }),
  },
  {
    name: 'tokenLogprobs',
    op: 'token_logprobs',
    inputs: { hidden: x([6, 5]), weight: x([11, 5], 2), targets: input('i32', [6], [3, -1, 10, 0, 3, 7]) },
    wanted: ['hidden', 'weight'],
    run: ({ hidden, weight, targets }) => tokenLogprobs(hidden!, weight!, targets!).logprobs,
    reference: byCases('token_logprobs', { logprobs: output('f32', [6]), lse: output('f32', [6]) }, 'logprobs'),
  },
  {
    name: 'logSoftmax',
    op: 'token_logprobs',
    inputs: { x: x([4, 5], 1, 3) },
    wanted: ['x'],
    run: (tensors) => logSoftmax(tensors.x!),
    reference: ({ x }) =>
      x!.data!.map((value, index, all) => {
        const row = all.subarray(index - (index % 5), index - (index % 5) + 5);
        return value - Math.log(row.reduce((total, each) => total + Math.exp(each), 0));
      }),
  },
  {
    name: 'quantisedLinear',
    op: 'quantised_matmul',
    inputs: { x: x([4, 35]), ...quantised('mxfp4', 6, 35) },
    wanted: ['x'],
    run: ({ x, weight, scales }) => quantisedLinear(x!, new QuantisedWeight('mxfp4', [6, 35], weight!, scales!)),
    reference: byCases('quantised_matmul', out([4, 6]), 'y', {
      transposed: 1,
      accumulate: 0,
      firstRow: 0,
      firstColumn: 0,
    }),
  },
  {
    name: 'loraLinear on a quantised weight',
    op: 'quantised_matmul',
    inputs: { x: x([4, 7], 2), ...quantised('fp8 block', 5, 7, { firstRow: 126 }), a: x([3, 7], 3), b: x([5, 3], 4) },
    wanted: ['x', 'a', 'b'],
    run: ({ x, weight, scales, a, b }) =>
      loraLinear(x!, new QuantisedWeight('fp8 block', [5, 7], weight!, scales!, [126, 0]), a!, b!, 0.5, null),
    reference: ({ x, weight, scales, a, b }) => {
      const stored = { weight: { ...weight!, data: weight!.data! }, scales: { ...scales!, data: scales!.data! } };
      const w = dequantised(stored.weight, stored.scales, [5, 7], { firstRow: 126 }, 'f32');
      const base = times(x!.data!, w, 4, 7, 5);
      const inner = times(x!.data!, a!.data!, 4, 7, 3);
      return times(inner, b!.data!, 4, 3, 5).map((value, index) => base[index]! + 0.5 * value);
    },
  },
  {
    name: 'loraLinear without dropout',
    op: 'matmul_low_rank',
    inputs: { x: x([4, 7], 2), weight: x([5, 7]), a: x([3, 7], 3), b: x([5, 3], 4) },
    wanted: ['x', 'weight', 'a', 'b'],
    run: ({ x, weight, a, b }) => loraLinear(x!, weight!, a!, b!, 0.5, null),
    reference: ({ x, weight, a, b }) => {
      const base = times(x!.data!, weight!.data!, 4, 7, 5);
      const inner = times(x!.data!, a!.data!, 4, 7, 3);
      return times(inner, b!.data!, 4, 3, 5).map((value, index) => base[index]! + 0.5 * value);
    },
  },
  {
    name: 'loraLinear',
    op: 'dropout',
    inputs: { x: x([4, 7], 2), weight: x([5, 7]), a: x([3, 7], 3), b: x([5, 3], 4) },
    wanted: ['x', 'weight', 'a', 'b'],
    run: ({ x, weight, a, b }) => loraLinear(x!, weight!, a!, b!, 0.5, { p: 0.25, seed: 3, purpose: 4, step: 5 }),
    reference: ({ x, weight, a, b }) => {
      const attributes = { p: 0.25, seed: 3, purpose: 4, step: 5, offset: 0, columns: 7 };
      const dropped = byCases('dropout', out([4, 7]), 'y', attributes)({ x: x! });
      const base = times(Float64Array.from(x!.data!), weight!.data!, 4, 7, 5);
      const inner = times(dropped, a!.data!, 4, 7, 3);
      return times(inner, b!.data!, 4, 3, 5).map((value, index) => base[index]! + 0.5 * value);
    },
  },
];

/** left [rows, inner] · right [columns, inner]ᵀ. */
function times(left: Float64Array, right: Float64Array, rows: number, inner: number, columns: number): Float64Array {
  const product = new Float64Array(rows * columns);
  for (let row = 0; row < rows; row += 1)
    for (let column = 0; column < columns; column += 1)
      for (let k = 0; k < inner; k += 1)
        product[row * columns + column]! += left[row * inner + k]! * right[column * inner + k]!;
  return product;
}

/** d Σ upstream · reference / d input, by central differences. */
export function centralDifferences(entry: Differentiable, name: string, upstream: Float64Array): Float64Array {
  const spec = entry.inputs[name]!;
  return Float64Array.from({ length: elements(spec.shape) }, (_, index) => {
    const step = 1e-5 * Math.max(1, Math.abs(spec.data![index]!));
    const loss = (by: number): number => {
      const data = Float64Array.from(spec.data!);
      data[index]! += by;
      const result = entry.reference({ ...entry.inputs, [name]: { ...spec, data } });
      return result.reduce((total, value, at) => total + value * upstream[at]!, 0);
    };
    return (loss(step) - loss(-step)) / (2 * step);
  });
}

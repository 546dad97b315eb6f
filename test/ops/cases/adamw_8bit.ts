import { step8bit } from '../harness/adamw_8bit.js';
import { constant, inout, input, integers, normal, output, uniform } from '../harness/data.js';
import type { OpCases, TensorSpec } from '../harness/types.js';

const blocks = (n: number) => Math.ceil(n / 256);
const schedule = (step = 7) => ({ learningRate: input('f32', [1], [0.01]), step: input('i32', [1], [step]) });
const tensors = (n: number, extra: Record<string, TensorSpec> = {}) => ({
  ...schedule(),
  p: inout('f32', [n], normal(1)),
  g: input('f32', [n], normal(2)),
  mCodes: inout('u8', [n], integers(3, 0, 256)),
  mAbsmax: inout('f32', [blocks(n)], uniform(4, 0.1, 2)),
  vCodes: inout('u8', [n], integers(5, 0, 256)),
  vAbsmax: inout('f32', [blocks(n)], uniform(6, 0.1, 2)),
  ...extra,
});
const fresh = (n: number) => ({
  ...tensors(n),
  mAbsmax: inout('f32', [blocks(n)], constant(0)),
  vAbsmax: inout('f32', [blocks(n)], constant(0)),
});
const settings = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1, seed: 11, purpose: 5, first: 0 };
const factor = input('f32', [1], [0.37]);

export const cases: OpCases = {
  op: 'adamw_8bit',
  reference({ p, g, mCodes, mAbsmax, vCodes, vAbsmax, low, ...schedule }, attributes) {
    p!.magnitude = p!.data.map((value) => Math.abs(value) + 1);
    const scaled = g!.data.map((value) => value * (schedule.gradientFactor?.data[0] ?? 1));
    step8bit(
      {
        p: p!.data,
        mCodes: mCodes!.data,
        mAbsmax: mAbsmax!.data,
        vCodes: vCodes!.data,
        vAbsmax: vAbsmax!.data,
      },
      scaled,
      {
        ...(attributes as typeof settings),
        learningRate: schedule.learningRate!.data[0]!,
        step: schedule.step!.data[0]!,
      },
    );
    if (low) {
      low.data.set(p!.data);
      low.magnitude = p!.magnitude;
    }
  },
  // Magnitudes are |p| + 1: an update is at most about the learning rate, with about ten roundings, and codes are exact.
  roundings: { f32: 10 },
  gradient: 'not differentiable',
  cases: [
    { name: '333 elements', kind: 'odd', tensors: tensors(333), attributes: settings },
    { name: 'fresh state', tensors: { ...fresh(777), ...schedule(1) }, attributes: settings },
    {
      name: 'a gradient of zero on fresh state',
      tensors: { ...fresh(300), g: input('f32', [300], constant(0)) },
      attributes: settings,
    },
    { name: 'a factor for the gradient', tensors: tensors(257, { gradientFactor: factor }), attributes: settings },
    { name: 'a bf16 copy', tensors: tensors(131, { low: output('bf16', [131]) }), attributes: settings },
    {
      name: 'both, over several tasks',
      tensors: tensors(40_003, { gradientFactor: factor, low: output('bf16', [40_003]) }),
      attributes: settings,
    },
    {
      name: 'gradients that are not finite leave their weight alone',
      tensors: {
        ...tensors(300, { low: output('bf16', [300]) }),
        g: input('f32', [300], (n) =>
          normal(2)(n).map((x, i) => (i === 5 ? Number.NaN : i === 290 ? Infinity : i === 100 ? -Infinity : x)),
        ),
      },
      attributes: settings,
    },
    {
      name: 'tiny negative moments keep their sign',
      tensors: {
        ...fresh(64),
        g: input('f32', [64], (n) => Float64Array.from({ length: n }, (_, i) => (i === 0 ? 1 : -(10 ** (-i / 4))))),
        ...schedule(1),
      },
      attributes: settings,
    },
    {
      name: 'every code decodes and encodes to itself',
      tensors: {
        ...tensors(256),
        g: input('f32', [256], constant(0)),
        mCodes: inout('u8', [256], (n) => Float64Array.from({ length: n }, (_, i) => i)),
        vCodes: inout('u8', [256], (n) => Float64Array.from({ length: n }, (_, i) => 255 - i)),
      },
      attributes: settings,
    },
    {
      // One of the two neighbours: off by less than a whole step. The exact bits are in stochastic_rounding.test.ts.
      name: 'bf16 weights rounded at random',
      tensors: { ...tensors(40_003), p: inout('bf16', [40_003], normal(1)) },
      attributes: settings,
      roundings: { f32: 10, bf16: 2 },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors(0), attributes: settings },
    { name: 'one element', kind: 'one', tensors: tensors(1), attributes: settings },
  ],
  bad: [
    {
      name: 'a scale too few',
      tensors: { ...tensors(300), mAbsmax: inout('f32', [1], [1]) },
      attributes: settings,
      message: "adamw_8bit: Expected 'mAbsmax' to have 2 elements but received [1]",
    },
    {
      name: 'codes in f32',
      tensors: { ...tensors(300), vCodes: inout('f32', [300], constant(0)) },
      attributes: settings,
      message: "adamw_8bit: Expected 'vCodes' to be u8 but received f32",
    },
    {
      name: 'a copy of weights that are bf16 themselves',
      tensors: tensors(12, { p: inout('bf16', [12], normal(1)), low: output('bf16', [12]) }),
      attributes: settings,
      message: "adamw_8bit: Expected 'low' to be left out when 'p' is bf16 but received [12]",
    },
    {
      name: 'a purpose that is no word',
      tensors: tensors(12),
      attributes: { ...settings, purpose: 0.5 },
      message: "adamw_8bit: Expected 'purpose' to be a whole number below 2^32 but received 0.5",
    },
  ],
};

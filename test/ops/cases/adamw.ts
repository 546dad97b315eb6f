import { inout, input, normal, output, uniform } from '../harness/data.js';
import type { OpCases, TensorSpec } from '../harness/types.js';

const schedule = (step = 7) => ({ learningRate: input('f32', [1], [0.01]), step: input('i32', [1], [step]) });
const tensors = (shape: number[], extra: Record<string, TensorSpec> = {}) => ({
  ...schedule(),
  p: inout('f32', shape, normal(1)),
  g: input('f32', shape, normal(2)),
  m: inout('f32', shape, normal(3, 0.1)),
  v: inout('f32', shape, uniform(4, 0.01, 1)),
  ...extra,
});
const settings = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1, seed: 11, purpose: 5, first: 0 };
const factor = input('f32', [1], [0.37]);

export const cases: OpCases = {
  op: 'adamw',
  /** torch.optim.AdamW, one element at a time. */
  reference({ p, g, m, v, low, ...schedule }, { beta1, beta2, eps, weightDecay }) {
    const [learningRate, step] = [schedule.learningRate!.data[0]!, schedule.step!.data[0]!];
    const factor = schedule.gradientFactor?.data[0] ?? 1;
    p!.magnitude = new Float64Array(p!.data.length);
    m!.magnitude = new Float64Array(p!.data.length);
    for (let i = 0; i < p!.data.length; i += 1) {
      const gradient = g!.data[i]! * factor;
      m!.magnitude[i] = Math.abs(m!.data[i]!) + Math.abs(gradient);
      m!.data[i] = beta1! * m!.data[i]! + (1 - beta1!) * gradient;
      v!.data[i] = beta2! * v!.data[i]! + (1 - beta2!) * gradient ** 2;
      const rate = learningRate / (1 - beta1! ** step);
      const denominator = Math.sqrt(v!.data[i]!) / Math.sqrt(1 - beta2! ** step) + eps!;
      p!.magnitude[i] = Math.abs(p!.data[i]!) + (rate * m!.magnitude[i]!) / denominator;
      p!.data[i] = p!.data[i]! * (1 - learningRate * weightDecay!) - (rate * m!.data[i]!) / denominator;
    }
    if (low) {
      low.data.set(p!.data);
      low.magnitude = p!.magnitude;
    }
  },
  roundings: { f32: 8 },
  gradient: 'not differentiable',
  cases: [
    { name: '9×31', kind: 'odd', tensors: tensors([9, 31]), attributes: settings },
    { name: 'first step', tensors: tensors([77], schedule(1)), attributes: settings },
    { name: 'late step', tensors: tensors([77], schedule(1_000_000)), attributes: settings },
    { name: 'a slice', tensors: tensors([300]), attributes: { ...settings, first: 512 } },
    { name: 'a factor for the gradient', tensors: tensors([131], { gradientFactor: factor }), attributes: settings },
    { name: 'a bf16 copy', tensors: tensors([131], { low: output('bf16', [131]) }), attributes: settings },
    {
      name: 'both, over several tasks',
      tensors: tensors([70_003], { gradientFactor: factor, low: output('bf16', [70_003]) }),
      attributes: settings,
    },
    {
      name: 'rows of larger tensors',
      tensors: tensors([3, 21], { p: inout('f32', [3, 21], normal(1), { view: 'first' }) }),
      attributes: settings,
    },
    {
      // One of the two neighbours: off by less than a whole step. The exact bits are in stochastic_rounding.test.ts.
      name: 'bf16 weights rounded at random',
      tensors: tensors([70_003], { p: inout('bf16', [70_003], normal(1)) }),
      attributes: settings,
      roundings: { f32: 8, bf16: 2 },
    },
    { name: 'nothing', kind: 'empty', tensors: tensors([0]), attributes: settings },
    { name: 'one element', kind: 'one', tensors: tensors([1], { low: output('bf16', [1]) }), attributes: settings },
  ],
  bad: [
    {
      name: 'a moment of another size',
      tensors: { ...tensors([12]), m: inout('f32', [11], normal(3)) },
      attributes: settings,
      message: "adamw: Expected 'm' to have 12 elements but received [11]",
    },
    {
      name: 'a slice that does not begin with a block',
      tensors: tensors([12]),
      attributes: { ...settings, first: 12 },
      message: "adamw: Expected 'first' to be a multiple of 256 but received 12",
    },
    {
      name: 'beta2 = 1',
      tensors: tensors([12]),
      attributes: { ...settings, beta2: 1 },
      message: "adamw: Expected 'beta2' to be in [0, 1) but received 1",
    },
    {
      name: 'a copy of weights that are bf16 themselves',
      tensors: tensors([12], { p: inout('bf16', [12], normal(1)), low: output('bf16', [12]) }),
      attributes: settings,
      message: "adamw: Expected 'low' to be left out when 'p' is bf16 but received [12]",
    },
    {
      name: 'a purpose that is no word',
      tensors: tensors([12]),
      attributes: { ...settings, purpose: 0.5 },
      message: "adamw: Expected 'purpose' to be a whole number below 2^32 but received 0.5",
    },
  ],
};

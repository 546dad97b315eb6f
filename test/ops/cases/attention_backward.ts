import { input, narrowed, normal, output } from '../harness/data.js';
import type { OpCase, OpCases, References } from '../harness/types.js';
import { attributesOf, reference as forward, packedKeys, packedTensors, type Shape } from './attention.js';

function reference(tensors: References, { scale, window }: Record<string, number>): void {
  const { q, k, v, cuSeqlens, o, lse, do: upstream, dq, dk, dv } = tensors;
  const [T, H, D] = q!.shape as [number, number, number];
  const G = k!.shape[1]!;
  for (const gradient of [dq!, dk!, dv!]) {
    gradient.data.fill(0);
    gradient.magnitude = new Float64Array(gradient.data.length);
  }
  const rows = packedKeys(cuSeqlens!.data, H, G, window!);
  for (let t = 0; t < T; t += 1)
    for (let h = 0; h < H; h += 1) {
      const query = (t * H + h) * D;
      let delta = 0;
      let size = 0;
      for (let i = 0; i < D; i += 1) {
        delta += upstream!.data[query + i]! * o!.data[query + i]!;
        size += Math.abs(upstream!.data[query + i]! * o!.data[query + i]!);
      }
      for (const row of rows.keysOf(t, h)) {
        const key = row * D;
        let score = 0;
        let scoreSize = 0;
        let gradient = 0;
        let gradientSize = size;
        for (let i = 0; i < D; i += 1) {
          score += q!.data[query + i]! * k!.data[key + i]!;
          scoreSize += Math.abs(q!.data[query + i]! * k!.data[key + i]!);
          gradient += upstream!.data[query + i]! * v!.data[key + i]!;
          gradientSize += Math.abs(upstream!.data[query + i]! * v!.data[key + i]!);
        }
        const p = Math.exp(score * scale! - lse!.data[t * H + h]!);
        const ds = p * (gradient - delta) * scale!;
        // A score that is off by e makes its probability off by the factor 1 + e.
        const off = p * Math.max(1, scoreSize * Math.abs(scale!));
        for (let i = 0; i < D; i += 1) {
          dv!.data[key + i]! += p * upstream!.data[query + i]!;
          dk!.data[key + i]! += ds * q!.data[query + i]!;
          dq!.data[query + i]! += ds * k!.data[key + i]!;
          dv!.magnitude![key + i]! += Math.abs(off * upstream!.data[query + i]!);
          dk!.magnitude![key + i]! += Math.abs(off * gradientSize * scale! * q!.data[query + i]!);
          dq!.magnitude![query + i]! += Math.abs(off * gradientSize * scale! * k!.data[key + i]!);
        }
      }
    }
}

/** Inputs as the forward pass leaves them: o and lse of q, k and v, computed in f64 and rounded. */
function backwardTensors(shape: Shape): OpCase['tensors'] {
  const { dtype, view } = shape;
  const { lse, o, ...inputs } = packedTensors(shape);
  const results = Object.fromEntries(
    Object.entries({ ...inputs, o: o!, lse: lse! }).map(([name, spec]) => [
      name,
      {
        shape: spec.shape,
        dtype: spec.dtype,
        data: spec.data ?? new Float64Array(spec.shape.reduce((n, x) => n * x, 1)),
      },
    ]),
  );
  forward(results, attributesOf(shape));
  return {
    ...inputs,
    o: input(dtype, o!.shape, results.o!.data, narrowed(view)),
    lse: input('f32', lse!.shape, results.lse!.data),
    do: input(dtype, o!.shape, normal(5), narrowed(view)),
    dq: output(dtype, inputs.q!.shape, narrowed(view)),
    dk: output(dtype, inputs.k!.shape, narrowed(view)),
    dv: output(dtype, inputs.v!.shape, narrowed(view)),
  };
}

function backward(name: string, shape: Shape, kind?: OpCase['kind']): OpCase {
  return {
    name,
    ...(kind ? { kind } : {}),
    tensors: backwardTensors(shape),
    attributes: attributesOf(shape),
    roundings: { f32: 16, bf16: shape.dtype === 'bf16' ? 2 : 0 },
  };
}

const small: Shape = { dtype: 'f32', lengths: [3, 2], H: 2, G: 1, D: 4 };

export const cases: OpCases = {
  op: 'attention_backward',
  reference,
  roundings: { f32: 16 },
  gradient: { forwardOf: 'attention' },
  cases: [
    backward(
      '5 and 67 and 1 tokens, 3 heads on 1, head size 10',
      { dtype: 'f32', lengths: [5, 67, 1], H: 3, G: 1, D: 10 },
      'odd',
    ),
    backward('no tokens', { dtype: 'f32', lengths: [], H: 2, G: 1, D: 8 }, 'empty'),
    backward('empty documents', { dtype: 'f32', lengths: [0, 3, 0, 2, 0], H: 2, G: 2, D: 8 }),
    backward('one element', { dtype: 'f32', lengths: [1], H: 1, G: 1, D: 1 }, 'one'),
    backward('150 tokens, 9 heads on 3, bf16', { dtype: 'bf16', lengths: [150], H: 9, G: 3, D: 64 }),
    backward('head size 128, 5 heads on 1, bf16', { dtype: 'bf16', lengths: [3, 70], H: 5, G: 1, D: 128 }),
    backward('head size 256, bf16', { dtype: 'bf16', lengths: [66], H: 2, G: 1, D: 256, window: 40 }),
    backward('130 tokens, head size 33, bf16', { dtype: 'bf16', lengths: [64, 130], H: 2, G: 2, D: 33 }),
    backward('window of 70', { dtype: 'f32', lengths: [200, 71], H: 2, G: 1, D: 16, window: 70 }),
    backward('window of 33, bf16', { dtype: 'bf16', lengths: [140], H: 4, G: 2, D: 20, window: 33 }),
    backward('with sinks in lse', { dtype: 'f32', lengths: [30], H: 4, G: 2, D: 16, sinks: true }),
    backward('views along the last dimension', { dtype: 'f32', lengths: [20], H: 2, G: 1, D: 12, view: 'last' }),
  ].map((one) => {
    const { sinks: _sinks, ...tensors } = one.tensors;
    return { ...one, tensors };
  }),
  bad: [
    {
      name: 'lse of another shape',
      tensors: { ...backwardTensors(small), lse: input('f32', [5, 1], normal(1)) },
      attributes: { scale: 1, window: 0 },
      message: "attention_backward: Expected 'lse' to have shape [5, 2] but received [5, 1]",
    },
    {
      name: 'dk of the queries’ shape',
      tensors: { ...backwardTensors(small), dk: output('f32', [5, 2, 4]) },
      attributes: { scale: 1, window: 0 },
      message: "attention_backward: Expected 'dk' to have the shape of 'k', [5, 1, 4] but received [5, 2, 4]",
    },
  ],
};

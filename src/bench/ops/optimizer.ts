/** One step of P parameters of N elements each; master weights, gradients and scales are f32 whatever the dtype. */
import type { Tensor } from '../../tensor/tensor.js';
import type { OpBench } from '../op_bench.js';
import type { Operands } from '../operands.js';

const shape = { N: 1 << 22, P: 1 };

/** A step of all parameters in one operation; `state(make, N)` makes one's moments. */
function step(state: (make: Operands, N: number) => Tensor[]): OpBench['build'] {
  return (make, { N, P }) => {
    const group = () => [
      make.random([N!], 'f32'),
      make.random([N!], 'f32'),
      ...state(make, N!),
      make.dtype === 'bf16' ? make.empty([N!], 'bf16') : null,
    ];
    const groups = Array.from({ length: P! }, group).flat();
    return {
      tensors: [make.full([1], 1e-4, 'f32'), make.full([1], 10, 'i32'), null, ...groups],
      attributes: [0.9, 0.999, 1e-8, 0, 0, ...Array.from({ length: 2 * P! }, () => 0)],
    };
  };
}

export const optimizer: OpBench[] = [
  {
    op: 'adamw',
    computes: 'one AdamW step of P times N f32 parameters, with a bf16 copy for --dtype bf16',
    shape,
    peer: 'torch.optim.AdamW(fused=True) on f32 parameters',
    build: step((make, N) => [make.full([N], 0.01, 'f32'), make.full([N], 0.01, 'f32')]),
  },
  {
    op: 'adamw_8bit',
    computes: 'one AdamW step of P times N f32 parameters with 8-bit state, and a bf16 copy for --dtype bf16',
    shape,
    build: step((make, N) => {
      const codes = () => make.full([N], 200, 'u8');
      const scales = () => make.full([Math.ceil(N / 256)], 0.01, 'f32');
      return [codes(), scales(), codes(), scales()];
    }),
  },
];

/** One step of a parameter of N elements; master weights, gradients and scales are f32 whatever the dtype. */
import type { OpBench } from '../op_bench.js';

const shape = { N: 1 << 22 };
const attributes = [1e-4, 0.9, 0.999, 1e-8, 0, 10, 0, 0];

export const optimizer: OpBench[] = [
  {
    op: 'adamw',
    computes: 'one AdamW step of N f32 parameters, with a bf16 copy for --dtype bf16',
    shape,
    peer: 'torch.optim.AdamW(fused=True) on f32 parameters',
    build: (make, { N }) => ({
      tensors: [
        make.random([N!], 'f32'),
        make.random([N!], 'f32'),
        make.full([N!], 0.01, 'f32'),
        make.full([N!], 0.01, 'f32'),
        null,
        make.dtype === 'bf16' ? make.empty([N!], 'bf16') : null,
      ],
      attributes,
    }),
  },
  {
    op: 'adamw_8bit',
    computes: 'one AdamW step of N f32 parameters with 8-bit state, and a bf16 copy for --dtype bf16',
    shape,
    build(make, { N }) {
      const codes = () => make.full([N!], 200, 'u8');
      const scales = () => make.full([Math.ceil(N! / 256)], 0.01, 'f32');
      return {
        tensors: [
          make.random([N!], 'f32'),
          make.random([N!], 'f32'),
          codes(),
          scales(),
          codes(),
          scales(),
          null,
          make.dtype === 'bf16' ? make.empty([N!], 'bf16') : null,
        ],
        attributes,
      };
    },
  },
];

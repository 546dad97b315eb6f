import type { OpBench } from '../op_bench.js';
import { bytesOf } from '../operands.js';

export const matrix: OpBench[] = [
  {
    op: 'matmul',
    computes: 'C[M,N] = A[M,K] · B[N,K]ᵀ, as a linear layer does',
    shape: { M: 64, N: 1536, K: 576 },
    peer: 'torch.nn.functional.linear',
    build(make, { M, N, K }) {
      const [a, b, c] = [make.random([M!, K!]), make.random([N!, K!]), make.empty([M!, N!])];
      // c is not accumulated into, so it is only written.
      return {
        tensors: [a, b, c],
        attributes: [0, 1, 0, 1],
        flops: 2 * M! * N! * K!,
        bytes: bytesOf(a) + bytesOf(b) + bytesOf(c),
      };
    },
  },
];

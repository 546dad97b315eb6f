import { type QuantisedWeight, scaleBlocks } from '../../ops/quantised.js';
import type { OpBench } from '../op_bench.js';
import { bytesOf, type Operands } from '../operands.js';

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
  {
    op: 'matmul_low_rank',
    computes: 'C[M,N] = A[M,K] · B[N,K]ᵀ + ½ · inner[M,R] · outer[N,R]ᵀ, as a linear layer with an adapter does',
    shape: { M: 2048, N: 1536, K: 576, R: 64 },
    peer: 'torch.addmm of the two products',
    build(make, { M, N, K, R }) {
      const operands = [make.random([M!, K!]), make.random([N!, K!]), make.random([M!, R!]), make.random([N!, R!])];
      const c = make.empty([M!, N!]);
      return {
        tensors: [...operands, c],
        attributes: [1, 0, 0.5, 1],
        flops: 2 * M! * N! * (K! + R!),
        bytes: [...operands, c].reduce((sum, tensor) => sum + bytesOf(tensor), 0),
      };
    },
  },
  {
    op: 'quantised_matmul',
    computes: 'y[M,N] = x[M,K] · W[N,K]ᵀ; block 0: W in fp8 with one scale, 128: one for 128×128, 32: mxfp4',
    shape: { M: 64, N: 1536, K: 576, block: 128 },
    peer: 'torch.nn.functional.linear, its weight dequantised beforehand',
    build(make, { M, N, K, block }) {
      const { data, scales } = quantised(make, N!, K!, block!);
      const [x, y] = [make.random([M!, K!]), make.empty([M!, N!])];
      return {
        tensors: [x, data, scales, y],
        attributes: [1, 0, 0, 0],
        flops: 2 * M! * N! * K!,
        bytes: bytesOf(x) + bytesOf(data) + bytesOf(scales) + bytesOf(y),
      };
    },
  },
];

function quantised(make: Operands, N: number, K: number, block: number): Pick<QuantisedWeight, 'data' | 'scales'> {
  if (block === 32) {
    const across = Math.ceil(K / 32);
    return { data: make.bytes([N, 16 * across], 'u8'), scales: make.full([N, across], 120, 'u8') };
  }
  const [rows, columns] = scaleBlocks['fp8 block'];
  return {
    data: make.bytes([N, K], 'fp8'),
    scales: make.full(block === 0 ? [1] : [Math.ceil(N / rows), Math.ceil(K / columns)], 0.01, 'f32'),
  };
}

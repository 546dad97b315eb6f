/** N elements each: these are as fast as memory, or the cache with --warm. */
import type { OpName } from '../../native.js';
import type { OpBench } from '../op_bench.js';

const shape = { N: 1 << 22 };

/** y = f(inputs). */
function bench(op: OpName, computes: string, inputs: number, attributes: number[], peer: string): OpBench {
  return {
    op,
    computes,
    shape,
    peer,
    build(make, { N }) {
      const tensors = Array.from({ length: inputs }, () => make.random([N!]));
      return { tensors: [...tensors, make.empty([N!])], attributes };
    },
  };
}

function reduction(op: 'sum' | 'sum_squares', computes: string, peer: string): OpBench {
  return {
    op,
    computes,
    shape,
    peer,
    build(make, { N }) {
      const [x, y] = [make.random([N!]), make.full([1], 0, 'f32')];
      return { tensors: op === 'sum' ? [x, y] : [y, x] };
    },
  };
}

export const elementwise: OpBench[] = [
  bench('fill', 'y = value', 0, [1], 'fill_'),
  bench('copy', 'y = x', 1, [], 'copy_'),
  bench('add', 'y = a + b', 2, [1], 'torch.add'),
  bench('mul', 'y = a·b', 2, [], 'torch.mul'),
  bench('exp', 'y = eˣ', 1, [], 'torch.exp'),
  bench('scale', 'y = 0.5·x', 1, [0.5], 'torch.mul by a number'),
  reduction('sum', 'Σ x', 'torch.sum'),
  reduction('sum_squares', 'Σ x²', 'torch.linalg.vector_norm'),
];

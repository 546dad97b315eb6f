import type { DType } from '../../../src/tensor/dtype.js';
import { input, integers, normal, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, V: number, E: number, N: number) => ({
  table: input(dtype, [V, E], normal(1)),
  ids: input('i32', [N], integers(2, 0, V)),
  y: output(dtype, [N, E]),
});

export const cases: OpCases = {
  op: 'embedding',
  reference({ table, ids, y }) {
    const E = table!.shape[1]!;
    y!.data.fill(0);
    for (const [n, id] of ids!.data.entries())
      if (id >= 0) y!.data.set(table!.data.subarray(id * E, (id + 1) * E), n * E);
  },
  roundings: { f32: 0, bf16: 0 },
  gradient: { backward: 'embedding_backward' },
  cases: [
    { name: '13 rows of 11×37 f32', kind: 'odd', tensors: tensors('f32', 11, 37, 13) },
    { name: 'bf16', tensors: tensors('bf16', 5, 19, 7) },
    { name: 'several tasks', tensors: tensors('bf16', 9, 1001, 77) },
    {
      name: 'fp8',
      tensors: { ...tensors('fp8', 5, 19, 7), table: input('fp8', [5, 19], integers(3, 0, 256)) },
    },
    {
      name: 'rows of none and of another rank',
      tensors: { ...tensors('f32', 6, 21, 5), ids: input('i32', [5], [-1, 0, -2, 3, -2]) },
    },
    {
      name: 'views',
      tensors: {
        table: input('f32', [6, 21], normal(1), { view: 'last' }),
        ids: input('i32', [5], [5, 0, 3, 3, 1], { view: 'first' }),
        y: output('f32', [5, 21], { view: 'last' }),
      },
    },
    { name: 'no ids', kind: 'empty', tensors: tensors('f32', 4, 8, 0) },
    { name: 'one element', kind: 'one', tensors: tensors('f32', 1, 1, 1) },
  ],
  bad: [
    {
      name: 'a result of another shape',
      tensors: { ...tensors('f32', 4, 8, 3), y: output('f32', [3, 7]) },
      message: "embedding: Expected 'y' to have shape [3, 8] but received [3, 7]",
    },
    {
      name: 'ids in a matrix',
      tensors: { ...tensors('f32', 4, 8, 3), ids: input('i32', [3, 1], [0, 1, 2]) },
      message: "embedding: Expected 'ids' to have rank 1 but received shape [3, 1]",
    },
  ],
};

import type { DType } from '../../../src/tensor/dtype.js';
import { inout, input, integers, normal } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (dtype: DType, V: number, E: number, N: number) => ({
  ids: input('i32', [N], integers(2, 0, V)),
  dy: input(dtype, [N, E], normal(1)),
  dTable: inout('f32', [V, E], normal(3)),
});

export const cases: OpCases = {
  op: 'embedding_backward',
  reference({ ids, dy, dTable }) {
    const E = dy!.shape[1]!;
    dTable!.magnitude = dTable!.data.map(Math.abs);
    for (const [n, id] of ids!.data.entries())
      for (let i = 0; i < E && id >= 0; i += 1) {
        dTable!.data[id * E + i]! += dy!.data[n * E + i]!;
        dTable!.magnitude[id * E + i]! += Math.abs(dy!.data[n * E + i]!);
      }
  },
  // A row receives at most every id.
  roundings: { f32: 100 },
  gradient: { forwardOf: 'embedding' },
  cases: [
    { name: '13 rows into 11×37', kind: 'odd', tensors: tensors('f32', 11, 37, 13) },
    { name: 'bf16', tensors: tensors('bf16', 5, 19, 7) },
    { name: 'several tasks', tensors: tensors('f32', 9, 1001, 77) },
    {
      name: 'rows of none and of another rank',
      tensors: { ...tensors('f32', 6, 21, 5), ids: input('i32', [5], [-1, 0, -2, 3, -2]) },
    },
    {
      name: 'views',
      tensors: {
        ids: input('i32', [5], [5, 0, 3, 3, 1]),
        dy: input('f32', [5, 21], normal(1), { view: 'last' }),
        dTable: inout('f32', [6, 21], normal(3), { view: 'first' }),
      },
    },
    { name: 'no ids', kind: 'empty', tensors: tensors('f32', 4, 8, 0) },
    { name: 'one element', kind: 'one', tensors: tensors('f32', 1, 1, 1) },
  ],
  bad: [
    {
      name: 'dy of another width',
      tensors: { ...tensors('f32', 4, 8, 3), dy: input('f32', [3, 7], normal(1)) },
      message: "embedding_backward: Expected 'dy' to have shape [3, 8] but received [3, 7]",
    },
    {
      name: 'a bf16 accumulator',
      tensors: { ...tensors('f32', 4, 8, 3), dTable: inout('bf16', [4, 8], normal(3)) },
      message: "embedding_backward: Expected 'dTable' to be f32 but received bf16",
    },
  ],
};

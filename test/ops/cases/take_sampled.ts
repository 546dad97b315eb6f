import { input, integers, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (ids: readonly number[], sampled: readonly number[]) => ({
  ids: input('i32', [ids.length], ids),
  sampled: input('i32', [sampled.length], sampled),
  y: output('i32', [ids.length]),
});

export const cases: OpCases = {
  op: 'take_sampled',
  reference({ ids, sampled, y }) {
    for (const [n, id] of ids!.data.entries()) y!.data[n] = id >= 0 ? id : Math.max(sampled!.data[-1 - id]!, 0);
  },
  roundings: { f32: 0 },
  gradient: 'not differentiable',
  cases: [
    {
      name: '7 known and sampled ones',
      kind: 'odd',
      tensors: tensors([5, -3, 0, -1, -2, 2147483647, -1], [11, 0, 13]),
    },
    { name: 'rows without a token', tensors: tensors([-1, -2, -1], [-1, 9]) },
    {
      name: 'in place',
      tensors: { ...tensors([4, -2, -1], [7, 9]), y: { ...output('i32', [3]), same: 'ids' } },
    },
    {
      name: 'views of rows',
      tensors: {
        ids: input('i32', [5], [3, -1, -4, 0, -2], { view: 'first' }),
        sampled: input('i32', [4], [21, 22, 23, 24], { view: 'first' }),
        y: output('i32', [5], { view: 'first' }),
      },
    },
    {
      name: 'more than a block takes',
      tensors: {
        ids: input('i32', [1501], integers(1, -64, 90)),
        sampled: input('i32', [64], integers(2, 0, 90)),
        y: output('i32', [1501]),
      },
    },
    { name: 'no ids', kind: 'empty', tensors: tensors([], [1]) },
    { name: 'one element', kind: 'one', tensors: tensors([-1], [7]) },
  ],
  bad: [
    {
      name: 'a result of another length',
      tensors: { ...tensors([1, 2], [3]), y: output('i32', [3]) },
      message: "take_sampled: Expected 'y' to have shape [2] but received [3]",
    },
    {
      name: 'ids that are no whole numbers',
      tensors: { ...tensors([1, 2], [3]), ids: input('f32', [2], [1, 2]) },
      message: "take_sampled: Expected 'ids' to be i32 but received f32",
    },
  ],
};

import { input, integers, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const tensors = (N: number, vocabulary: number) => ({
  ids: input('i32', [N], integers(2, -1, vocabulary)),
  y: output('i32', [N]),
});

export const cases: OpCases = {
  op: 'local_ids',
  reference({ ids, y }, { first, rows }) {
    for (const [n, id] of ids!.data.entries()) {
      const here = id >= first! && id < first! + rows!;
      y!.data[n] = here ? id - first! : id === -1 ? -1 : -2;
    }
  },
  roundings: { f32: 0 },
  gradient: 'not differentiable',
  cases: [
    { name: '41 ids', kind: 'odd', tensors: tensors(41, 11), attributes: { first: 3, rows: 5, vocabulary: 11 } },
    { name: 'every row', tensors: tensors(41, 11), attributes: { first: 0, rows: 11, vocabulary: 11 } },
    { name: 'no row', tensors: tensors(41, 11), attributes: { first: 11, rows: 0, vocabulary: 11 } },
    { name: 'nothing', kind: 'empty', tensors: tensors(0, 11), attributes: { first: 0, rows: 5, vocabulary: 11 } },
    { name: 'one element', kind: 'one', tensors: tensors(1, 1), attributes: { first: 0, rows: 1, vocabulary: 1 } },
  ],
  bad: [
    {
      name: 'more rows than there are',
      tensors: tensors(4, 11),
      attributes: { first: 7, rows: 5, vocabulary: 11 },
      message: "local_ids: Expected 'rows' to be at most what is left of 'vocabulary' but received 5",
    },
    {
      name: 'ids in bf16',
      tensors: { ...tensors(4, 11), ids: input('f32', [4], [1, 2, 3, 4]) },
      attributes: { first: 0, rows: 5, vocabulary: 11 },
      message: "local_ids: Expected 'ids' to be i32 but received f32",
    },
  ],
};

import type { DType } from '../../../src/tensor/dtype.js';
import { input, integers, normal, output } from '../harness/data.js';
import type { OpCases, TensorSpec } from '../harness/types.js';

const pair = (from: DType, to: DType, shape: number[], x: Partial<TensorSpec> = {}, y: Partial<TensorSpec> = {}) => ({
  x: { ...input(from, shape, from === 'f32' || from === 'bf16' ? normal(1) : integers(1, 0, 250)), ...x },
  y: { ...output(to, shape), ...y },
});
const special = [
  0,
  -0,
  Infinity,
  -Infinity,
  Number.NaN,
  1 + 2 ** -8,
  1 + 3 * 2 ** -8,
  2 ** -140,
  -(2 ** -149),
  3.4e38,
  -1.5,
  1,
  2,
  3,
  4,
  5,
  6,
];

export const cases: OpCases = {
  op: 'copy',
  reference({ x, y }) {
    y!.data.set(x!.data);
  },
  // A conversion to bf16 is one rounding; everything else is exact.
  roundings: { f32: 0 },
  gradient: { backward: 'copy', arguments: { x: 'dy', y: 'dx' } },
  cases: [
    { name: '7×19 f32', kind: 'odd', tensors: pair('f32', 'f32', [7, 19]) },
    { name: 'f32 to bf16', tensors: pair('f32', 'bf16', [5, 133]) },
    { name: 'bf16 to f32', tensors: pair('bf16', 'f32', [5, 133]) },
    { name: 'bf16 to bf16', tensors: pair('bf16', 'bf16', [2, 3, 5, 7]) },
    { name: 'i32', tensors: pair('i32', 'i32', [41]) },
    { name: 'u8', tensors: pair('u8', 'u8', [3, 11]) },
    { name: 'several tasks', tensors: pair('f32', 'bf16', [3, 33_333]) },
    {
      name: 'special values to f32',
      smooth: false,
      tensors: { x: input('f32', [17], special), y: output('f32', [17]) },
    },
    {
      name: 'special values to bf16',
      tensors: {
        x: input(
          'f32',
          [17],
          special.map((x) => (x === 3.4e38 ? 3.3e38 : x)),
        ),
        y: output('bf16', [17]),
      },
    },
    { name: 'between views', tensors: pair('f32', 'bf16', [5, 33], { view: 'last' }, { view: 'last' }) },
    { name: 'from columns', tensors: pair('u8', 'u8', [5, 33], { view: 'last' }) },
    { name: 'to rows', tensors: pair('i32', 'i32', [5, 33], {}, { view: 'first' }) },
    { name: 'nothing', kind: 'empty', tensors: pair('f32', 'bf16', [4, 0]) },
    { name: 'one element', kind: 'one', tensors: pair('bf16', 'f32', [1, 1]) },
  ],
  bad: [
    {
      name: 'another shape',
      tensors: { x: input('f32', [2, 3], normal(1)), y: output('f32', [3, 2]) },
      message: "copy: Expected 'y' to have the shape of 'x', [2, 3] but received [3, 2]",
    },
    {
      name: 'floats into whole numbers',
      tensors: { x: input('f32', [2], normal(1)), y: output('i32', [2]) },
      message: "copy: Expected 'y' to be f32 or bf16 but received i32",
    },
    {
      name: 'whole numbers into floats',
      tensors: { x: input('i32', [2], [1, 2]), y: output('f32', [2]) },
      message: "copy: Expected 'y' to have the dtype of 'x', i32 but received f32",
    },
  ],
};

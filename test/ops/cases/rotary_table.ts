import { input, integers, output } from '../harness/data.js';
import type { OpCases } from '../harness/types.js';

const frequencies = (half: number) => Float64Array.from({ length: half }, (_, j) => 10000 ** (-j / half));
const tensors = (positions: ArrayLike<number>, half: number) => ({
  positions: input('i32', [positions.length], positions),
  inverseFrequencies: input('f32', [half], frequencies(half)),
  cosSin: output('f32', [positions.length, 2 * half]),
});

export const cases: OpCases = {
  op: 'rotary_table',
  reference({ positions, inverseFrequencies, cosSin }, { attentionFactor }) {
    const half = inverseFrequencies!.data.length;
    for (const [t, position] of positions!.data.entries())
      for (const [j, frequency] of inverseFrequencies!.data.entries()) {
        // The angle is an f32 number by contract.
        const angle = Math.fround(Math.fround(position) * frequency);
        cosSin!.data[t * 2 * half + j] = Math.cos(angle) * Math.fround(attentionFactor!);
        cosSin!.data[t * 2 * half + half + j] = Math.sin(angle) * Math.fround(attentionFactor!);
      }
  },
  roundings: { f32: 2 },
  gradient: 'not differentiable',
  cases: [
    {
      name: '17 positions, 22 dimensions',
      kind: 'odd',
      tensors: tensors(integers(1, 0, 4096)(17), 11),
      attributes: { attentionFactor: 1 },
    },
    {
      name: 'positions up to 2^24',
      tensors: tensors([0, 1, 131_071, 262_143, 16_777_215], 32),
      attributes: { attentionFactor: 1 },
    },
    { name: 'several tasks', tensors: tensors(integers(1, 0, 4096)(200), 32), attributes: { attentionFactor: 1 } },
    { name: 'scaled', tensors: tensors([0, 5, 9], 3), attributes: { attentionFactor: 1.3465735902799727 } },
    { name: 'no positions', kind: 'empty', tensors: tensors([], 4), attributes: { attentionFactor: 1 } },
    { name: 'one position', kind: 'one', tensors: tensors([3], 1), attributes: { attentionFactor: 1 } },
  ],
  bad: [
    {
      name: 'a table of another width',
      tensors: { ...tensors([1, 2], 4), cosSin: output('f32', [2, 4]) },
      attributes: { attentionFactor: 1 },
      message: "rotary_table: Expected 'cosSin' to have shape [2, 8] but received [2, 4]",
    },
  ],
};

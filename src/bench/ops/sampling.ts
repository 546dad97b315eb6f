import { Tensor } from '../../tensor/tensor.js';
import type { OpBench } from '../op_bench.js';

export const sampling: OpBench[] = [
  {
    op: 'sample',
    computes:
      'the next token of B sequences from f32 logits over V, temperature 1, top-k K (0: all), top-p P %; or greedily',
    shape: { B: 32, V: 49152, K: 0, P: 100, greedy: 0 },
    peer: 'argmax, or softmax and multinomial; without top-k and top-p',
    build(make, { B, V, K, P, greedy }) {
      const floats = Array.from({ length: B! }, () => [greedy! > 0 ? 0 : 1, P! / 100, 0, 0, 0, 1, 0, 0]).flat();
      const ints = Array.from({ length: B! }, (_, row) => [K!, row, 0, row]).flat();
      return {
        tensors: [
          make.random([B!, V!], 'f32', 3),
          Tensor.from(make.device, Float32Array.from(floats), [B!, 8]),
          make.integers(ints, [B!, 4]),
          make.integers([]),
          make.integers(new Array<number>(2 * B! + 1).fill(0)),
          null,
          null,
          null,
          null,
          make.integers(new Array<number>(B!).fill(0)),
          make.empty([B!], 'f32'),
          null,
          null,
        ],
      };
    },
  },
];

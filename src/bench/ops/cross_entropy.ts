/** T tokens, E hidden size, V vocabulary. */
import type { OpBench } from '../op_bench.js';
import type { Operands } from '../operands.js';
import type { Shape } from '../shape.js';

const shape = { T: 2048, E: 576, V: 49152 };

/** Operations of one product of [T,E] and [V,E]. */
const product = ({ T, E, V }: Shape): number => 2 * T! * E! * V!;

function head(make: Operands, { T, E, V }: Shape) {
  return {
    hidden: make.random([T!, E!]),
    weight: make.random([V!, E!], make.dtype, E! ** -0.5), // logits of about 1
    targets: make.indices(T!, V!),
  };
}

export const crossEntropy: OpBench[] = [
  {
    op: 'linear_cross_entropy',
    computes: 'the loss of T tokens with the gradients of hidden states and head, logits computed once',
    shape,
    peer: 'cross_entropy(linear(hidden, weight)) and its backward pass',
    build(make, shape) {
      const { hidden, weight, targets } = head(make, shape);
      const tokenWeights = make.full([shape.T!], 1 / shape.T!, 'f32');
      return {
        tensors: [
          hidden,
          weight,
          targets,
          tokenWeights,
          make.empty([shape.T!], 'f32'),
          make.empty(hidden.shape),
          make.empty(weight.shape, 'f32'),
        ],
        flops: 3 * product(shape),
      };
    },
  },
  {
    op: 'token_logprobs',
    computes: 'log-probabilities of T tokens from hidden states',
    shape,
    peer: 'cross_entropy(linear(hidden, weight)) without gradients',
    build(make, shape) {
      const { hidden, weight, targets } = head(make, shape);
      const output = () => make.empty([shape.T!], 'f32');
      return { tensors: [hidden, weight, targets, output(), output()], flops: product(shape) };
    },
  },
  {
    op: 'token_logprobs_backward',
    computes: 'its backward pass, logits computed again',
    shape,
    build(make, shape) {
      const { hidden, weight, targets } = head(make, shape);
      return {
        tensors: [
          hidden,
          weight,
          targets,
          make.full([shape.T!], Math.log(shape.V!) + 0.5, 'f32'), // the lse of normal logits
          make.random([shape.T!], 'f32'),
          make.empty(hidden.shape),
          make.empty(weight.shape, 'f32'),
        ],
        flops: 3 * product(shape),
      };
    },
  },
];

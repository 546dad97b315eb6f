import { launch } from '../tensor/launch.js';
import { record, withoutTape } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { cast } from './elementwise.js';
import { multiplyByWeight, type QuantisedWeight } from './quantised.js';

export interface Dropout {
  /** Probability of dropping an element, in [0, 1). */
  p: number;
  seed: number;
  /** See ops/random.ts. */
  purpose: number;
  /** The optimizer step and micro-batch, as one number. */
  step: number;
  /** Where x begins in a whole row, and the columns of that: for a rank that holds a part. Default: x is whole. */
  first?: number;
  columns?: number;
}

/**
 * A linear layer with a low-rank adapter (Hu et al. 2021): x · weightᵀ + scale · dropout(x) · Aᵀ · Bᵀ.
 *
 * x [T, K] and weight [N, K] in the model's dtype, A [r, K] and B [N, r] f32 → [T, N] in the model's dtype, in which the
 * products run. Both are summed in f32 and rounded once: what a young adapter adds is less than half a bf16 step of the layer's
 * own output, and would vanish if that were rounded before. Dropout is a function of position, so the backward pass draws the
 * same mask again instead of saving it. A quantised weight is frozen: gradients flow to x, A and B.
 *
 * @param packed whether rows are tokens of packed documents. Default: true. An engine's rows come in any number, and must get the
 *   same bits whatever that is.
 */
export function loraLinear(
  x: Tensor,
  weight: Tensor | QuantisedWeight,
  a: Tensor,
  b: Tensor,
  scale: number,
  dropout: Dropout | null,
  packed = true,
): Tensor {
  const drops = dropout !== null && dropout.p > 0;
  const dropInto = (input: Tensor, dropped: Tensor): void => {
    const { p, seed, purpose, step, first = 0, columns = input.shape[1]! } = dropout!;
    launch('dropout', [input, dropped], [p, seed, purpose, step, first, columns]);
  };
  const drop = (input: Tensor): Tensor => {
    if (!drops) return input;
    const dropped = input.like();
    dropInto(input, dropped);
    return dropped;
  };
  const rows = x.shape[0]!;
  const low = (parameter: Tensor): Tensor => withoutTape(() => cast(parameter, x.dtype));
  const aLow = low(a);
  const bLow = low(b);
  const inner = Tensor.empty(x.device, [rows, a.shape[0]!], x.dtype);
  launch('matmul', [drop(x), aLow, inner], [0, 1, 0, 1]);
  const sum = (dtype: Tensor['dtype']) => Tensor.empty(x.device, [rows, weight.shape[0]!], dtype);
  let y: Tensor;
  if (weight instanceof Tensor) {
    y = sum(x.dtype);
    launch('matmul_low_rank', [x, weight, inner, bLow, y], [1, 0, scale, Number(packed)]);
  } else {
    const total = sum('f32');
    multiplyByWeight(x, weight, total);
    launch('matmul', [inner, bLow, total], [0, 1, 1, scale]);
    y = low(total);
  }
  const own = weight instanceof Tensor ? weight : weight.data;
  record('loraLinear', [x, own, a, b], [y], [x, own, aLow, bLow, inner], (context) => {
    const dy = context.gradient();
    const [savedX, savedWeight, savedA, savedB, savedInner] = [0, 1, 2, 3, 4].map((index) => context.saved(index)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const dInner = savedInner.like();
    launch('matmul', [dy, savedB, dInner], [0, 0, 0, scale]);
    context.into(3, (dB, accumulate) => launch('matmul', [dy, savedInner, dB], [1, 0, Number(accumulate), scale]));
    context.into(2, (dA, accumulate) => launch('matmul', [dInner, drop(savedX), dA], [1, 0, Number(accumulate), 1]));
    context.into(1, (dW, accumulate) => launch('matmul', [dy, savedX, dW], [1, 0, Number(accumulate), 1]));
    const base = weight instanceof Tensor ? savedWeight : weight;
    context.into(0, (dx, accumulate) => {
      if (!drops && base instanceof Tensor)
        return launch('matmul_low_rank', [dy, base, dInner, savedA, dx], [0, Number(accumulate), 1, 1]);
      if (!drops) {
        multiplyByWeight(dy, base, dx, { back: true, accumulate });
        return launch('matmul', [dInner, savedA, dx], [0, 0, 1, 1]);
      }
      // What goes through the mask is there first, in its place if it can: the layer's product is added while it is written.
      const dropped = accumulate ? dx.like() : dx;
      launch('matmul', [dInner, savedA, dropped], [0, 0, 0, 1]);
      dropInto(dropped, dropped);
      multiplyByWeight(dy, base, dx, { back: true, accumulate: true });
      if (accumulate) launch('add', [dx, dropped, dx], [1]);
    });
  });
  return y;
}

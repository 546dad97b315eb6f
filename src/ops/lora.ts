import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { cast } from './elementwise.js';

export interface Dropout {
  /** Probability of dropping an element, in [0, 1). */
  p: number;
  seed: number;
  /** See ops/random.ts. */
  purpose: number;
  /** The optimizer step and micro-batch, as one number. */
  step: number;
}

/**
 * The adapter path of a LoRA layer (Hu et al. 2021), added to `base`: base + scale · dropout(x) · Aᵀ · Bᵀ.
 *
 * x [T, K] and base [T, N] in the model's dtype, A [r, K] and B [N, r] f32; the products run in the model's dtype. Dropout is a
 * function of position, so the backward pass draws the same mask again instead of saving it.
 */
export function lora(base: Tensor, x: Tensor, a: Tensor, b: Tensor, scale: number, dropout: Dropout | null): Tensor {
  const drop = (input: Tensor): Tensor => {
    if (!dropout || dropout.p === 0) return input;
    const dropped = input.like();
    launch('dropout', [input, dropped], [dropout.p, dropout.seed, dropout.purpose, dropout.step, 0]);
    return dropped;
  };
  const aLow = cast(a, x.dtype);
  const bLow = cast(b, x.dtype);
  const inner = Tensor.empty(x.device, [x.shape[0]!, a.shape[0]!], x.dtype);
  const y = base.like();
  launch('matmul', [drop(x), aLow, inner], [0, 1, 0, 1]);
  launch('copy', [base, y]);
  launch('matmul', [inner, bLow, y], [0, 1, 1, scale]);
  record('lora', [base, x, a, b], [y], [x, aLow, bLow, inner], (context) => {
    const dy = context.gradient();
    const [savedX, savedA, savedB, savedInner] = [0, 1, 2, 3].map((index) => context.saved(index)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const dInner = savedInner.like();
    launch('matmul', [dy, savedB, dInner], [0, 0, 0, scale]);
    context.into(3, (dB, accumulate) => launch('matmul', [dy, savedInner, dB], [1, 0, Number(accumulate), scale]));
    context.into(2, (dA, accumulate) => launch('matmul', [dInner, drop(savedX), dA], [1, 0, Number(accumulate), 1]));
    if (context.needs(1)) {
      if (dropout && dropout.p > 0) {
        const dDropped = savedX.like();
        launch('matmul', [dInner, savedA, dDropped], [0, 0, 0, 1]);
        context.add(1, drop(dDropped));
      } else {
        context.into(1, (dx, accumulate) => launch('matmul', [dInner, savedA, dx], [0, 0, Number(accumulate), 1]));
      }
    }
    context.add(0, dy);
  });
  return y;
}

import { scope } from './scope.js';
import { record, Tape, withoutTape, currentTape } from './tape.js';
import type { Tensor } from './tensor.js';

/**
 * Activation checkpointing: runs `fn` without recording and, in the backward pass, once more with a tape of its own. Only
 * `input` is kept in between. Operations are deterministic and randomness is a function of position, so the second run gives
 * the same bits.
 */
export function checkpoint(fn: (input: Tensor) => Tensor, input: Tensor): Tensor {
  if (!currentTape()) return fn(input);
  const output = withoutTape(() => scope(() => fn(input)));
  currentTape()!.watch(input); // parameters inside may want gradients even where the input does not
  record('checkpoint', [input], [output], [input], (context) => {
    using tape = new Tape();
    const again = context.saved(0);
    tape.watch(again);
    const recomputed = tape.run(() => scope(() => fn(again)));
    const [gradient] = tape.backward(recomputed, context.gradient(), [again]);
    if (gradient) {
      context.add(0, gradient);
      gradient.dispose();
    }
  });
  return output;
}

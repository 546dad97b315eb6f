import { scope } from './scope.js';
import { currentTape, record, Tape, withoutTape } from './tape.js';
import type { Tensor } from './tensor.js';

/**
 * Activation checkpointing: runs `fn` without recording and, in the backward pass, once more with a tape of its own. Only
 * `input` is kept in between, and `constants`: whatever else `fn` reads that may be disposed before the backward pass and
 * needs no gradient. Operations are deterministic and randomness is a function of position, so the second run gives the
 * same bits.
 */
export function checkpoint<C extends Tensor[]>(
  fn: (input: Tensor, ...constants: C) => Tensor,
  input: Tensor,
  ...constants: C
): Tensor {
  if (!currentTape()) return fn(input, ...constants);
  const output = withoutTape(() => scope(() => fn(input, ...constants)));
  currentTape()!.watch(input); // parameters inside may want gradients even where the input does not
  record('checkpoint', [input], [output], [input, ...constants], (context) => {
    using tape = new Tape();
    const again = context.saved(0);
    tape.watch(again);
    const saved = constants.map((_, index) => context.saved(index + 1)) as C;
    const recomputed = tape.run(() => scope(() => fn(again, ...saved)));
    const [gradient] = tape.backward(recomputed, context.gradient(), [again]);
    if (gradient) {
      context.add(0, gradient);
      gradient.dispose();
    }
  });
  return output;
}

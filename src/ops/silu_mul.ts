import { launch } from '../tensor/launch.js';
import { type BackwardContext, record } from '../tensor/tape.js';
import type { Tensor } from '../tensor/tensor.js';

/** The gated activation of SwiGLU: silu(gate) · up, of one shape and dtype. */
export function siluMul(gate: Tensor, up: Tensor): Tensor {
  const y = forward(gate, up);
  const backward = (context: BackwardContext) => {
    const dGate = gate.like();
    const dUp = up.like();
    launch('silu_mul_backward', [context.saved(0), context.saved(1), context.gradient(), dGate, dUp]);
    context.add(0, dGate);
    context.add(1, dUp);
  };
  record('siluMul', [gate, up], [y], [gate, up], backward, ([savedGate, savedUp]) => forward(savedGate!, savedUp!));
  return y;
}

function forward(gate: Tensor, up: Tensor): Tensor {
  const y = gate.like();
  launch('silu_mul', [gate, up, y]);
  return y;
}

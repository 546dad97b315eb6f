import { launch } from '../tensor/launch.js';
import { type BackwardContext, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/** x / √(mean(x²) + eps) · weight over the last dimension. x [.., E], weight [E], one float dtype. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  const { y, invRms } = forward(x, weight, eps);
  const backward = (context: BackwardContext) => context.add(0, gradientOfSum(context, 1, null));
  record('rmsNorm', [x, weight], [y], [x, weight, invRms], backward, recompute(eps));
  return y;
}

/**
 * sum = a + b, and its {@link rmsNorm}, in one pass over memory, and in one back: the bits are those of add and rmsNorm. a and b
 * [.., E], weight [E], one float dtype.
 */
export function addRmsNorm(a: Tensor, b: Tensor, weight: Tensor, eps: number): { sum: Tensor; normed: Tensor } {
  const sum = a.like();
  const normed = a.like();
  const invRms = Tensor.empty(a.device, [a.size / a.shape.at(-1)!], 'f32');
  launch('add_rms_norm', [a, b, weight, sum, normed, invRms], [eps]);
  const backward = (context: BackwardContext) => {
    const gradient = gradientOfSum(context, 2, context.gradient(1));
    context.add(0, gradient);
    context.add(1, gradient);
  };
  record('addRmsNorm', [a, b, weight], [normed, sum], [sum, weight, invRms], backward, recompute(eps));
  return { sum, normed };
}

/** Of what was normed, to which `others` flow as well; that of the weight, input number `weight`, on the way. */
function gradientOfSum(context: BackwardContext, weight: number, others: Tensor | null): Tensor {
  const dx = context.saved(0).like();
  const inputs = [context.saved(0), context.saved(1), context.saved(2), context.gradient(), dx];
  if (context.needs(weight)) {
    context.into(weight, (target, accumulate) => {
      if (!accumulate) launch('fill', [target], [0]);
      launch('rms_norm_backward', [...inputs, target, others]);
    });
  } else {
    launch('rms_norm_backward', [...inputs, null, others]);
  }
  return dx;
}

const recompute =
  (eps: number) =>
  ([x, weight]: readonly Tensor[]): Tensor => {
    const again = forward(x!, weight!, eps);
    again.invRms.dispose();
    return again.y;
  };

function forward(x: Tensor, weight: Tensor, eps: number): { y: Tensor; invRms: Tensor } {
  const y = x.like();
  const invRms = Tensor.empty(x.device, [x.size / x.shape.at(-1)!], 'f32');
  launch('rms_norm', [x, weight, y, invRms], [eps]);
  return { y, invRms };
}

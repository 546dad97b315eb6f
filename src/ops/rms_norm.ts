import { launch } from '../tensor/launch.js';
import { type BackwardContext, record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/** x / √(mean(x²) + eps) · weight over the last dimension. x [.., E], weight [E], one float dtype. */
export function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  const { y, invRms } = forward(x, weight, eps);
  const backward = (context: BackwardContext) => {
    const dx = x.like();
    const inputs = [context.saved(0), context.saved(1), context.saved(2), context.gradient(), dx];
    if (context.needs(1)) {
      context.into(1, (target, accumulate) => {
        if (!accumulate) launch('fill', [target], [0]);
        launch('rms_norm_backward', [...inputs, target]);
      });
    } else {
      launch('rms_norm_backward', [...inputs, null]);
    }
    context.add(0, dx);
  };
  record('rmsNorm', [x, weight], [y], [x, weight, invRms], backward, ([savedX, savedWeight]) => {
    const again = forward(savedX!, savedWeight!, eps);
    again.invRms.dispose();
    return again.y;
  });
  return y;
}

function forward(x: Tensor, weight: Tensor, eps: number): { y: Tensor; invRms: Tensor } {
  const y = x.like();
  const invRms = Tensor.empty(x.device, [x.size / x.shape.at(-1)!], 'f32');
  launch('rms_norm', [x, weight, y, invRms], [eps]);
  return { y, invRms };
}

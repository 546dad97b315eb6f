import type { Device } from '../tensor/device.js';
import { dtypeSize } from '../tensor/dtype.js';
import { launch } from '../tensor/launch.js';
import { record } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';

/** `fp8 tensor`: e4m3 with one scale; `fp8 block`: e4m3 with one for 128×128; `mxfp4`: four bits with one for 32 neighbours of a row. */
export type WeightForm = 'fp8 tensor' | 'fp8 block' | 'mxfp4';

/** Rows and columns that share a scale. */
export const scaleBlocks = { 'fp8 tensor': null, 'fp8 block': [128, 128], mxfp4: [1, 32] } as const;

/**
 * A linear layer's weight [N, K] that stays as its checkpoint stores it; products dequantise it on the way
 * (kernels/quantised_matmul/quantised_matmul.h). It is frozen: what is trained are adapters beside it.
 */
export class QuantisedWeight {
  readonly requiresGrad = false;
  readonly form: WeightForm;
  /** [N, K] */
  readonly shape: readonly [outputs: number, inputs: number];
  /** fp8 [N, K]; of mxfp4 u8 [N, 16 · blocks of 32 that K lies in]. */
  readonly data: Tensor;
  /** f32 [1]; f32 [blocks of N, blocks of K]; of mxfp4 u8 [N, blocks of K]. */
  readonly scales: Tensor;
  /** Where the weight begins in its first block: a rank's part may begin in the middle of one. */
  readonly first: readonly [row: number, column: number];

  /** Takes over `data` and `scales`. */
  constructor(
    form: WeightForm,
    shape: readonly [number, number],
    data: Tensor,
    scales: Tensor,
    first: readonly [number, number] = [0, 0],
  ) {
    this.form = form;
    this.shape = shape;
    this.data = data;
    this.scales = scales;
    this.first = first;
  }

  get device(): Device {
    return this.data.device;
  }
  /** Elements of the weight. */
  get size(): number {
    return this.shape[0] * this.shape[1];
  }
  get bytes(): number {
    return [this.data, this.scales].reduce((sum, { size, dtype }) => sum + size * dtypeSize[dtype], 0);
  }

  /** The weight as numbers. */
  dequantise(dtype: 'f32' | 'bf16'): Tensor {
    const weight = Tensor.empty(this.device, this.shape, dtype);
    launch('dequantise', [this.data, this.scales, weight], this.first);
    return weight;
  }

  dispose(): void {
    this.data.dispose();
    this.scales.dispose();
  }
}

/** y (+)= x · weightᵀ, or, back through the layer, x · weight. */
export function multiplyByWeight(
  x: Tensor,
  weight: Tensor | QuantisedWeight,
  y: Tensor,
  { back = false, accumulate = false }: { back?: boolean; accumulate?: boolean } = {},
): void {
  if (weight instanceof Tensor) launch('matmul', [x, weight, y], [0, Number(!back), Number(accumulate), 1]);
  else
    launch(
      'quantised_matmul',
      [x, weight.data, weight.scales, y],
      [Number(!back), Number(accumulate), ...weight.first],
    );
}

/** x [T, K] · weight [N, K]ᵀ → [T, N] in x's dtype; gradients flow to x alone. */
export function quantisedLinear(x: Tensor, weight: QuantisedWeight): Tensor {
  const y = Tensor.empty(x.device, [x.shape[0]!, weight.shape[0]], x.dtype);
  multiplyByWeight(x, weight, y);
  record('quantisedLinear', [x], [y], [], (context) => {
    const dy = context.gradient();
    context.into(0, (dx, accumulate) => multiplyByWeight(dy, weight, dx, { back: true, accumulate }));
  });
  return y;
}

import type { Device } from '../tensor/device.js';
import { type DType, dtypeSize } from '../tensor/dtype.js';
import { launch } from '../tensor/launch.js';
import { Tensor } from '../tensor/tensor.js';

/** Elements. */
const largestUpload = 1 << 22;

export type FloatDType = 'f32' | 'bf16';

/** Makes the tensors of a benchmark: random where values are read, so that no shortcut for zeros helps. */
export class Operands {
  readonly device: Device;
  /** Of the factors and results. */
  readonly dtype: FloatDType;
  #seed = 1;

  constructor(device: Device, dtype: FloatDType) {
    this.device = device;
    this.dtype = dtype;
  }

  /** Normal values. */
  random(shape: readonly number[], dtype: FloatDType = this.dtype, deviation = 1): Tensor {
    const size = shape.reduce((product, size) => product * size, 1);
    if (size <= largestUpload) return this.#uploaded(shape, size, dtype, deviation);
    // A piece over and over, copied where the tensor lies: gigabytes must neither pass through this process nor take minutes.
    using piece = this.#uploaded([largestUpload], largestUpload, dtype, deviation);
    const tensor = Tensor.empty(this.device, shape, dtype);
    using flat = tensor.reshape([size]);
    for (let start = 0; start < size; start += largestUpload) {
      const length = Math.min(largestUpload, size - start);
      using from = piece.narrow(0, 0, length);
      using to = flat.narrow(0, start, length);
      launch('copy', [from, to]);
    }
    return tensor;
  }

  #uploaded(shape: readonly number[], size: number, dtype: FloatDType, deviation: number): Tensor {
    const data = new Float32Array(size);
    // A piece of random values over and over, from another place each time: large tensors must not take minutes to make.
    for (let at = 0; at < data.length; ) {
      this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
      const piece = normals().subarray(this.#seed % 4096);
      const count = Math.min(piece.length, data.length - at);
      data.set(count < piece.length ? piece.subarray(0, count) : piece, at);
      at += count;
    }
    if (deviation !== 1) for (let index = 0; index < data.length; index++) data[index]! *= deviation;
    return Tensor.from(this.device, data, shape, dtype);
  }

  /** Bytes of any value; of fp8 numbers alone. */
  bytes(shape: readonly number[], dtype: 'u8' | 'fp8'): Tensor {
    const data = new Uint8Array(shape.reduce((product, size) => product * size, 1));
    for (let index = 0; index < data.length; index++) data[index] = (Math.imul(index, 0x9e3779b1) >>> 16) & 0xfe;
    return Tensor.from(this.device, data, shape, dtype);
  }

  /** Positive values near `value`. */
  full(shape: readonly number[], value: number, dtype: DType = this.dtype): Tensor {
    return Tensor.full(this.device, shape, value, dtype);
  }

  /** To be overwritten. */
  empty(shape: readonly number[], dtype: DType = this.dtype): Tensor {
    return Tensor.full(this.device, shape, 0, dtype); // touched, so that no call pays for the first access to a page
  }

  integers(values: readonly number[], shape: readonly number[] = [values.length]): Tensor {
    return Tensor.from(this.device, Int32Array.from(values), shape);
  }

  /** Whole numbers in [0, below), spread out. */
  indices(count: number, below: number): Tensor {
    return this.integers(
      Array.from({ length: count }, (_, index) => Math.imul(index + 1, 0x9e3779b1) >>> 0).map((x) => x % below),
    );
  }
}

export function bytesOf(tensor: Tensor): number {
  return tensor.size * dtypeSize[tensor.dtype];
}

let cached: Float32Array | null = null;

function normals(): Float32Array {
  if (cached) return cached;
  cached = new Float32Array(65_536 + 4096);
  let state = 1;
  const uniform = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state + 0.5) / 2 ** 32;
  };
  for (let index = 0; index < cached.length; index++) {
    cached[index] = Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  }
  return cached;
}

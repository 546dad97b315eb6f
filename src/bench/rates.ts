/** What the machine can do, measured in the same run as what is compared with it. */
import { native } from '../native.js';
import type { Device } from '../tensor/device.js';
import { Tensor } from '../tensor/tensor.js';

export interface Rates {
  /** Multiply-adds of matrix products, FLOP/s, by the dtype of the factors: the machine's best instructions, not those in use. */
  readonly flops: { readonly f32: number; readonly bf16: number };
  /** Memory to memory, bytes/s, read and written counted each. */
  readonly copy: number;
  /** Memory to registers, bytes/s. */
  readonly read: number;
}

/**
 * Measures for about a second on as many threads as the device has. A figure is the best of several passes, so that what else
 * runs on the machine lowers it least.
 */
export async function measureRates(device: Device): Promise<Rates> {
  using result = Tensor.empty(device, [8], 'u8');
  const measure = async (rate: 0 | 1 | 2 | 3): Promise<number> => {
    native.measureRate(device.id, result.handle, rate);
    return new Float64Array((await result.readBytes()).buffer)[0]!;
  };
  const f32 = await measure(0);
  // Without bf16 instructions the factors are widened, and the sums are f32's.
  const bf16 = (await measure(1)) || f32;
  return { flops: { f32, bf16 }, copy: await measure(2), read: await measure(3) };
}

/** The better of two measurements, rate by rate: one before and one after the work. */
export function bestRates(a: Rates, b: Rates): Rates {
  return {
    flops: { f32: Math.max(a.flops.f32, b.flops.f32), bf16: Math.max(a.flops.bf16, b.flops.bf16) },
    copy: Math.max(a.copy, b.copy),
    read: Math.max(a.read, b.read),
  };
}

/** `f32 502, bf16 918 GFLOP/s; copy 14, read 33 GB/s` */
export function formatRates({ flops, copy, read }: Rates): string {
  const giga = (rate: number): string => (rate / 1e9).toPrecision(3);
  return `f32 ${giga(flops.f32)}, bf16 ${giga(flops.bf16)} GFLOP/s; copy ${giga(copy)}, read ${giga(read)} GB/s`;
}

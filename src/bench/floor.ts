import type { FloatDType } from './operands.js';
import type { Rates } from './rates.js';

/** The least time that work can take, in seconds: operations and then traffic, nothing overlapped. */
export interface Floor {
  readonly seconds: number;
  /** Of which matrix products, at the measured multiply-add rate. */
  readonly operations: number;
  /** Of which memory traffic, at the better of the measured bandwidths. */
  readonly bytes: number;
}

/** @param work floating-point operations of matrix products, and bytes to and from memory (0 where they stay in a cache). */
export function floorOf(work: { flops: number; bytes: number }, dtype: FloatDType, rates: Rates): Floor {
  const operations = work.flops / rates.flops[dtype];
  const bytes = work.bytes / Math.max(rates.copy, rates.read);
  return { seconds: operations + bytes, operations, bytes };
}

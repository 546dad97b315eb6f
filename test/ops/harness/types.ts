/**
 * How an operation is tested: one file per operation, test/ops/cases/<op>.ts, exports an {@link OpCases}. The harness runs
 * every case on every device and compares with the f64 reference; see ops.test.ts for all that it checks.
 */
import type { OpName } from '../../../src/native.js';
import type { Device } from '../../../src/tensor/device.js';
import type { DType } from '../../../src/tensor/dtype.js';

/** One tensor argument of a case. Made with {@link input}, {@link inout} and {@link output} of data.ts. */
export interface TensorSpec {
  dtype: DType;
  shape: readonly number[];
  /** What it holds before, already rounded to the dtype (of fp8 the bits); null for an argument that is only written. */
  data: Float64Array | null;
  /** Narrowed, along this dimension, out of a larger tensor, whose other elements must stay as they are. */
  view?: 'first' | 'last';
  /** This argument is the very tensor of another one, by name. */
  same?: string;
}

/** What a reference sees of an argument. It overwrites `data` of those the operation writes, like the kernel does. */
export interface Reference {
  shape: readonly number[];
  dtype: DType;
  /** Inputs hold their values; outputs hold NaN until the reference writes them. */
  data: Float64Array;
  /**
   * What the errors of an element are relative to, where that is more than its own magnitude: for a sum, the sum of the
   * magnitudes of its terms.
   */
  magnitude?: Float64Array;
}

/** The arguments of an operation by name; optional ones that a case leaves out are missing. */
export type References = Record<string, Reference>;

/**
 * How many roundings lie behind an element of an output: |actual − expected| ≤ f32 · 2⁻²⁴ · magnitude + bf16 · 2⁻⁸ · magnitude.
 * `bf16` is 1 for bf16 outputs unless said otherwise (the rounding at the end).
 */
export interface Roundings {
  f32: number;
  bf16?: number;
}

export interface OpCase {
  name: string;
  /** Which of the cases every operation needs this one is: sizes that are multiples of nothing, nothing at all, one element. */
  kind?: 'odd' | 'empty' | 'one';
  /** By name, as in the contract; optional ones may be left out. */
  tensors: Record<string, TensorSpec>;
  /** By name, all of them. A function where an attribute belongs to a device. */
  attributes?: Record<string, number> | ((device: Device) => Record<string, number>);
  /** Instead of those of the operation. */
  roundings?: Roundings;
  /** Values that central differences say nothing about: infinite, huge, or at a place of extreme curvature. */
  smooth?: false;
}

/** A call that must be refused when it is enqueued. */
export interface BadCall {
  name: string;
  tensors: Record<string, TensorSpec>;
  attributes?: OpCase['attributes'];
  /** The whole message: `op: Expected 'argument' to … but received …`. */
  message: string;
}

/**
 * Checked in f64: the reference of `backward` against central differences of this operation's reference, on every case
 * whose inputs are f32 and small. Arguments and attributes of the backward operation are found by name: those of the
 * forward operation's inputs and outputs, `d` + name (or d + Name) for the gradient of one of them.
 */
export interface GradientCheck {
  backward: OpName;
  /** Where names do not tell: argument of the backward operation → name of the forward operation, or `d` + Name. */
  arguments?: Record<string, string>;
  attributes?: (attributes: Record<string, number>) => Record<string, number>;
  /** The gradient that comes from above is 1 and the backward operation does not take it. */
  unitUpstream?: boolean;
}

export interface OpCases {
  op: OpName;
  /** Plain loops in f64 over the values the kernel sees. */
  reference(tensors: References, attributes: Record<string, number>): void;
  roundings: Roundings;
  /** Every argument is a single number: there are no odd and no empty sizes. */
  scalar?: true;
  cases: OpCase[];
  bad: BadCall[];
  /**
   * `forwardOf`: this is the backward operation of that one. 'through the tape': it has no backward operation of its own;
   * differentiable.ts checks the function of src/ops that is built on it.
   */
  gradient: GradientCheck | { forwardOf: OpName } | 'through the tape' | 'not differentiable';
}

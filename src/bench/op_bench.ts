import type { OpName } from '../native.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Operands } from './operands.js';
import type { Shape } from './shape.js';

/** One call of an operation, and what it must do at least. */
export interface Work {
  /** In the order of the operation's contract. */
  readonly tensors: readonly (Tensor | null)[];
  readonly attributes?: readonly number[];
  /** Multiplications and additions of matrix products; the rest of an operation's arithmetic is not counted. */
  readonly flops?: number;
  /** Bytes that must move. Default: every input read, every output written, what is both twice. */
  readonly bytes?: number;
}

/** How an operation is benchmarked. */
export interface OpBench {
  readonly op: OpName;
  /** What is computed, in the letters of `shape`. */
  readonly computes: string;
  /** Sizes by name with their defaults, which are those of a 135M Llama at 2,048 tokens or 32 sequences. */
  readonly shape: Shape;
  /** What the peer does in its place (benchmarks/peers/torch_op.py); left out where torch has no counterpart. */
  readonly peer?: string;
  build(operands: Operands, shape: Shape): Work;
}

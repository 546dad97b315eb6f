// What kernels on an accelerator refuse in the integer tensors (Failure::code). attention/ops.cpp puts it into the words that the
// CPU kernels throw.
#pragma once

namespace cd::attention {

enum Refusal : int {
  kStart,         // cuSeqlens: the first bound
  kFall,          // cuSeqlens: a bound, the one before
  kEnd,           // cuSeqlens: the last bound
  kShortContext,  // contextLengths: a length, the queries, the sequence
  kFewBlocks,     // blockTable: the length, the sequence
  kBlock,         // blockTable: a block, its place, the sequence
  kSlot,          // slots: a slot, the token
};

}  // namespace cd::attention

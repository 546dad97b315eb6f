// Reads the integer tensors that say where documents lie, refusing what does not fit, and numbers the work on them.
#pragma once

#include <string>

#include "../../native/kernel.h"

namespace cd::attention {

[[noreturn]] inline void refuse(const Call& call, int index, const std::string& expected, int64_t received) {
  call.fail(index, expected, std::to_string(received));
}

// cuSeqlens: [documents + 1], from 0 to `tokens` without falling.
inline void checkDocuments(const Call& call, int index, int64_t tokens) {
  const int32_t* bounds = call[index].as<int32_t>();
  const int64_t documents = call[index].shape[0] - 1;
  if (bounds[0] != 0) refuse(call, index, "start at 0", bounds[0]);
  for (int64_t b = 0; b < documents; ++b)
    if (bounds[b + 1] < bounds[b]) refuse(call, index, "never fall, after " + std::to_string(bounds[b]), bounds[b + 1]);
  if (bounds[documents] != tokens)
    refuse(call, index, "end at " + std::to_string(tokens) + " (the number of packed tokens)", bounds[documents]);
}

// Pieces of at most `piece` tokens of every document, numbered through: firstPiece [documents + 1] → their total.
inline int64_t numberPieces(const int32_t* bounds, int64_t documents, int64_t piece, int64_t* firstPiece) {
  firstPiece[0] = 0;
  for (int64_t b = 0; b < documents; ++b) firstPiece[b + 1] = firstPiece[b] + (bounds[b + 1] - bounds[b] + piece - 1) / piece;
  return firstPiece[documents];
}

// The document that a piece belongs to.
inline int64_t documentOf(const int64_t* firstPiece, int64_t documents, int64_t piece) {
  int64_t low = 0, high = documents - 1;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (firstPiece[middle + 1] > piece) high = middle;
    else low = middle + 1;
  }
  return low;
}

}  // namespace cd::attention

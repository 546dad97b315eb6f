// Where documents and sequences lie, found on the device: a launch covers the most pieces that there can be, and a block asks
// which one is its own.
//
// A piece is a tile of rows of one document. Row r of a document is query r / heads at head r % heads of a key/value head's
// group, so that all heads that read the same keys lie together.
#pragma once

#include "../common/cuda.h"
#include "refusals.h"

namespace cd::cuda::attend {
using namespace cd::attention;

struct Documents {
  const int32_t* bounds;   // cuSeqlens [count + 1]
  const int32_t* lengths;  // keys of each sequence, its queries last; null: as many as queries
  const int32_t* pieces;   // [count + 2]: the number of each document's first piece, the total, and whether the tensors fit
  int count, heads;

  __device__ int queries(int document) const { return bounds[document + 1] - bounds[document]; }
  __device__ int keys(int document) const { return lengths ? lengths[document] : queries(document); }
  __device__ bool fit() const { return pieces[count + 1] != 0; }
};

struct Piece {
  int document;  // −1: no such piece
  int firstRow, rows;
  int queries, firstPosition;  // of the document
};

// The last pieces of a document see the most keys: they come first, so that all blocks end at about the same time.
template <int kRows>
__device__ __forceinline__ Piece findPiece(const Documents& documents, unsigned block) {
  const int number = documents.pieces[documents.count] - 1 - static_cast<int>(block);
  if (number < 0) return {-1, 0, 0, 0, 0};
  int low = 0, high = documents.count - 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (documents.pieces[middle + 1] > number) high = middle;
    else low = middle + 1;
  }
  Piece piece;
  piece.document = low;
  piece.queries = documents.queries(low);
  piece.firstPosition = documents.keys(low) - piece.queries;
  piece.firstRow = (number - documents.pieces[low]) * kRows;
  piece.rows = min(kRows, piece.queries * documents.heads - piece.firstRow);
  return piece;
}

constexpr int kNumberThreads = 256;

// One block checks the bounds and numbers the pieces of every document of at least `fewest` queries, and its splitsOf(document)
// splits: splits [count + 1], each document's first one and the total, or null. When something does not fit, there are none at
// all.
template <class SplitsOf>
__device__ __forceinline__ void numberAll(const Documents& documents, int64_t tokens, int64_t mostKeys, int rowsPerPiece,
                                          int fewest, int32_t* pieces, int32_t* splits, SplitsOf&& splitsOf,
                                          const FailureReport& fail) {
  SHARED(int64_t[kNumberThreads], sums);  // of pieces, and 2³² times those of splits
  const int thread = static_cast<int>(threadIdx.x);
  bool bad = false;
  if (thread == 0 && documents.bounds[0] != 0) {
    fail(kStart, documents.bounds[0]);
    bad = true;
  }
  for (int b = thread; b < documents.count; b += kNumberThreads) {
    const int queries = documents.queries(b);
    if (queries < 0) {
      fail(kFall, documents.bounds[b + 1], documents.bounds[b]);
      bad = true;
    } else if (documents.lengths && queries > 0) {
      const int keys = documents.lengths[b];
      if (keys < queries) fail(kShortContext, keys, queries, b);
      else if (keys > mostKeys) fail(kFewBlocks, keys, b);
      bad = bad || keys < queries || keys > mostKeys;
    }
  }
  bad = __syncthreads_or(bad) != 0;
  const int last = documents.bounds[documents.count];
  if (thread == 0 && !bad && last != tokens) fail(kEnd, last);
  bad = bad || last != tokens;

  int64_t total = 0;
  for (int start = 0; start < documents.count; start += kNumberThreads) {
    const int b = start + thread;
    const int queries = b < documents.count && !bad ? documents.queries(b) : 0;
    int64_t mine = queries < fewest ? 0 : ceilDiv(int64_t{queries} * documents.heads, rowsPerPiece);
    if (queries > 0) mine += int64_t{splitsOf(b)} << 32;
    sums[thread] = mine;
    __syncthreads();
    for (int distance = 1; distance < kNumberThreads; distance *= 2) {
      const int64_t before = thread >= distance ? sums[thread - distance] : 0;
      __syncthreads();
      sums[thread] += before;
      __syncthreads();
    }
    const int64_t first = total + sums[thread] - mine;
    if (b < documents.count) pieces[b] = static_cast<int32_t>(first);
    if (b < documents.count && splits) splits[b] = static_cast<int32_t>(first >> 32);
    total += sums[kNumberThreads - 1];
    __syncthreads();
  }
  if (thread == 0) {
    pieces[documents.count] = static_cast<int32_t>(total);
    pieces[documents.count + 1] = !bad;
    if (splits) splits[documents.count] = static_cast<int32_t>(total >> 32);
  }
}

static __global__ void __launch_bounds__(kNumberThreads)
    numberPieces(Documents documents, int64_t tokens, int64_t mostKeys, int rowsPerPiece, int fewest, int32_t* pieces,
                 FailureReport fail) {
  numberAll(documents, tokens, mostKeys, rowsPerPiece, fewest, pieces, nullptr, [](int) { return 0; }, fail);
}

// The most pieces of `rowsPerPiece` that documents of these tokens can have: one is unfinished in each.
inline unsigned mostPieces(int64_t tokens, int64_t heads, int64_t documents, int rowsPerPiece) {
  return static_cast<unsigned>(tokens == 0 ? 0 : ceilDiv(tokens * heads, rowsPerPiece) + documents);
}

// Rows of a tensor [.., heads, D], one for each head.
template <class T>
struct HeadRows {
  T* data;
  int64_t stride;
  explicit HeadRows(const Tensor& tensor) : data(tensor.as<T>()), stride(tensor.rowStride) {}
  __device__ T* operator[](int64_t row) const { return data + row * stride; }
};

// Where key/value head `group` of a document's key lies: in packed tokens …
struct PackedKeys {
  const int32_t* bounds;
  int groups;

  __device__ int64_t row(int document, int key, int group) const { return (int64_t{bounds[document]} + key) * groups + group; }
};

// … or in the blocks of a cache; −1 (and a report) when the table names a block that is not there.
struct PagedKeys {
  const int32_t* table;
  int64_t tableStride;
  int blockSize, groups, blocks;
  FailureReport fail;

  __device__ int64_t slot(int document, int key) const {
    const int place = key / blockSize, block = table[document * tableStride + place];
    if (block < 0 || block >= blocks) {
      fail(kBlock, block, place, document);
      return -1;
    }
    return int64_t{block} * blockSize + key % blockSize;
  }
  __device__ int64_t row(int document, int key, int group) const {
    const int64_t found = slot(document, key);
    return found < 0 ? -1 : found * groups + group;
  }
};

}  // namespace cd::cuda::attend

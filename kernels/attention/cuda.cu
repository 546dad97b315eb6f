#include "../common/dispatch.h"
#include "cuda_decode.h"
#include "cuda_forward.h"
#include "cuda_heads.h"
#include "cuda_hopper_forward.h"

namespace cd::cuda {
using namespace attend;

namespace {
constexpr int kPieceWarps = 4;

// The parts of a call's scratch memory start at multiples of 16 bytes.
int64_t rounded(int64_t bytes) { return ceilDiv(bytes, 16) * 16; }

template <class T, class Keys>
Forward<T, Keys> forwardOf(const Call& call, const Keys& keys, int64_t groups, int cuSeqlens, const int32_t* lengths,
                           const int32_t* pieces, int sinks, int o, float* lse) {
  const Tensor& q = call[0];
  const int documents = static_cast<int>(call[cuSeqlens].shape[0]) - 1, heads = static_cast<int>(q.shape[1]);
  return {{call[cuSeqlens].as<int32_t>(), lengths, pieces, documents, heads / static_cast<int>(groups)},
          HeadRows<const T>(q),
          HeadRows<const T>(call[1]),
          HeadRows<const T>(call[2]),
          HeadRows<T>(call[o]),
          keys,
          lse,
          call[sinks].present ? call[sinks].as<float>() : nullptr,
          static_cast<float>(call.attribute(0)) * kLog2E,
          static_cast<int>(call.attribute(1)),
          heads};
}

template <int D, class Keys>
void launchPieces(const Call& call, const Forward<BFloat16, Keys>& forward, unsigned pieces, unsigned groups) {
  launch(call, dim3(pieces, groups), 32 * kPieceWarps, sizeof(ForwardTiles<D, kPieceWarps>), attendPieces<D, kPieceWarps, Keys>,
         forward);
}

template <int D>
void launchHopper(const Call& call, const Forward<BFloat16, PackedKeys>& forward, unsigned pieces, unsigned groups) {
  using Shape = HopperForward<D>;
  const auto map = [&](const Tensor& tensor) {
    const int64_t stride = tensor.rows() > 1 ? tensor.rowStride : D;
    return tensorMap(
        {tensor.data, tensor.dtype, 3, {D, groups, tensor.shape[0]}, {1, stride, stride * groups}, {64, 1, Shape::kKeys}});
  };
  launch(call, dim3(pieces, groups), Shape::kThreads, sizeof(typename Shape::Tiles), attendHopper<D>, forward, map(call[1]),
         map(call[2]));
}

template <class T, class Keys>
void launchRows(const Call& call, const Forward<T, Keys>& forward, unsigned pieces, unsigned groups) {
  const int D = static_cast<int>(call[0].shape[2]);
  withColumns(call, D, [&](auto columns) {
    launch(call, dim3(pieces, groups), 32 * kRowWarps, 0, attendRows<T, columns(), Keys>, forward, D);
  });
}

template <class T, class Keys>
void number(const Call& call, const Forward<T, Keys>& forward, int64_t mostKeys, int rowsPerPiece, int fewest, int32_t* pieces) {
  launch(call, 1, kNumberThreads, 0, numberPieces, forward.documents, call[0].shape[0], mostKeys, rowsPerPiece, fewest, pieces,
         FailureReport(call));
}
}  // namespace

void attention(const Call& call) {
  const Tensor &q = call[0], &k = call[1], &cuSeqlens = call[3];
  const int64_t T = q.shape[0], groups = k.shape[1], documents = cuSeqlens.shape[0] - 1;
  if (groups == 0) return;
  int32_t* const pieces = call.scratch<int32_t>(documents + 2);
  const PackedKeys keys{cuSeqlens.as<int32_t>(), static_cast<int>(groups)};
  withFloat(q.dtype, [&](auto zero) {
    using Element = decltype(zero);
    const auto forward = forwardOf<Element>(call, keys, groups, 3, nullptr, pieces, 4, 5, call[6].as<float>());
    const bool tiles = takesTiles(call, {0, 1, 2, 5}), hopper = tiles && call.attribute(0) > 0 && hopperKernels();
    const int rows = hopper ? HopperForward<64>::kRows : tiles ? 16 * kPieceWarps : kRowWarps;
    number(call, forward, 0, rows, 1, pieces);
    if (q.elements() == 0) return;
    const unsigned count = mostPieces(T, forward.documents.heads, documents, rows);
    if constexpr (std::is_same_v<Element, BFloat16>) {
      if (tiles)
        return withHeadSize(q.shape[2], [&](auto D) {
          (hopper ? launchHopper<D()> : launchPieces<D(), PackedKeys>)(call, forward, count, static_cast<unsigned>(groups));
        });
    }
    launchRows(call, forward, count, static_cast<unsigned>(groups));
  });
}

void paged_attention(const Call& call) {
  const Tensor &q = call[0], &cache = call[1], &blockTable = call[3], &cuSeqlens = call[4];
  const int64_t T = q.shape[0], H = q.shape[1], D = q.shape[2], groups = cache.shape[2], sequences = cuSeqlens.shape[0] - 1;
  if (groups == 0) return;
  const int64_t mostKeys = blockTable.shape[1] * cache.shape[1];
  const PagedKeys keys{blockTable.as<int32_t>(),         blockTable.rowStride,
                       static_cast<int>(cache.shape[1]), static_cast<int>(groups),
                       static_cast<int>(cache.shape[0]), FailureReport(call)};
  const bool tiles = takesTiles(call, {0, 1, 2, 7});
  const int splitCount = tiles ? splitsFor(mostKeys) : 0;
  const int64_t places = sequences * H * splitCount;
  const int64_t pieceBytes = rounded((sequences + 2) * 4), softmaxBytes = rounded(places * 8);
  char* const memory = call.scratch<char>(pieceBytes + softmaxBytes + places * D * 4);
  int32_t* const pieces = reinterpret_cast<int32_t*>(memory);
  const Splits splits{reinterpret_cast<float*>(memory + pieceBytes + softmaxBytes),
                      reinterpret_cast<float2*>(memory + pieceBytes), splitCount};
  withFloat(q.dtype, [&](auto zero) {
    using Element = decltype(zero);
    const auto forward = forwardOf<Element>(call, keys, groups, 4, call[5].as<int32_t>(), pieces, 6, 7, nullptr);
    const int rows = tiles ? 16 * kPieceWarps : kRowWarps, heads = forward.documents.heads;
    number(call, forward, mostKeys, rows, tiles ? 2 : 1, pieces);
    if (q.elements() == 0) return;
    const unsigned count = mostPieces(T, heads, sequences, rows);
    if constexpr (std::is_same_v<Element, BFloat16>) {
      if (tiles)
        return withHeadSize(D, [&](auto size) {
          launchPieces<size()>(call, forward, count, static_cast<unsigned>(groups));
          const dim3 grid(static_cast<unsigned>(sequences), static_cast<unsigned>(groups * ceilDiv(heads, kDecodeRows)),
                          static_cast<unsigned>(splitCount));
          launch(call, grid, 32, sizeof(ForwardTiles<size(), 1>), attendSplits<size()>, forward, splits,
                 static_cast<int>(groups));
          launch(call, static_cast<unsigned>(ceilDiv(sequences * H, kJoinWarps)), 32 * kJoinWarps, 0, joinSplits<size()>, forward,
                 splits);
        });
    }
    launchRows(call, forward, count, static_cast<unsigned>(groups));
  });
}

// --- the cache ------------------------------------------------------------------------------------------------------------

namespace {
constexpr int kWriteThreads = 256;

// One warp for each token and group; Word is the widest type that all rows are aligned to.
template <class Word>
__global__ void __launch_bounds__(kWriteThreads)
    writeCache(HeadRows<const Word> k, HeadRows<const Word> v, const int32_t* slots, HeadRows<Word> keyCache,
               HeadRows<Word> valueCache, int rows, int groups, int words, int64_t slotCount, FailureReport fail) {
  constexpr int kWarps = kWriteThreads / 32;
  for (int row = static_cast<int>(blockIdx.x) * kWarps + warpIndex(); row < rows; row += static_cast<int>(gridDim.x) * kWarps) {
    const int token = row / groups, group = row % groups;
    const int slot = slots[token];
    if (slot < -1 || slot >= slotCount) {
      if (laneIndex() == 0 && group == 0) fail(kSlot, slot, token);
      continue;
    }
    if (slot < 0) continue;
    const int64_t target = int64_t{slot} * groups + group;
    for (int i = laneIndex(); i < words; i += 32) {
      keyCache[target][i] = k[row][i];
      valueCache[target][i] = v[row][i];
    }
  }
}

// A tensor of bytes seen as Words.
template <class Word>
HeadRows<Word> wordRows(const Tensor& tensor) {
  HeadRows<Word> rows(tensor);
  rows.stride = tensor.rowStride * dtypeSize(tensor.dtype) / static_cast<int64_t>(sizeof(Word));
  return rows;
}

template <class Word>
void writeWords(const Call& call) {
  const Tensor &k = call[0], &cache = call[3];
  const int64_t rows = k.shape[0] * k.shape[1];
  launch(call, blocksFor(rows, kWriteThreads / 32), kWriteThreads, 0, writeCache<Word>, wordRows<const Word>(k),
         wordRows<const Word>(call[1]), call[2].as<int32_t>(), wordRows<Word>(cache), wordRows<Word>(call[4]),
         static_cast<int>(rows), static_cast<int>(k.shape[1]),
         static_cast<int>(k.shape[2] * dtypeSize(k.dtype) / static_cast<int64_t>(sizeof(Word))), cache.shape[0] * cache.shape[1],
         FailureReport(call));
}
}  // namespace

void kv_write(const Call& call) {
  const bool packs = packable(call[0]) && packable(call[1]) && packable(call[3]) && packable(call[4]) &&
                     call[0].shape[2] * dtypeSize(call[0].dtype) % 16 == 0;
  if (packs) writeWords<uint4>(call);
  else if (call[0].dtype == DType::F32) writeWords<uint32_t>(call);
  else writeWords<uint16_t>(call);
}

}  // namespace cd::cuda

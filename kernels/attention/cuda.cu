#include "../rotary/cuda_rotate.h"
#include "cache.h"
#include "cuda_decode.h"
#include "cuda_forward.h"
#include "cuda_heads.h"
#include "cuda_hopper_decode.h"
#include "cuda_hopper_forward.h"

namespace cd::cuda {
using namespace attend;

namespace {
constexpr int kPieceWarps = 4;

// The parts of a call's scratch memory start at multiples of 16 bytes.
int64_t rounded(int64_t bytes) { return ceilDiv(bytes, 16) * 16; }

template <class T, class C, class Keys>
Forward<T, Keys, C> forwardOf(const Call& call, const Keys& keys, int64_t groups, int cuSeqlens, const int32_t* lengths,
                              const int32_t* pieces, int sinks, int o, float* lse) {
  const Tensor& q = call[0];
  const int documents = static_cast<int>(call[cuSeqlens].shape[0]) - 1, heads = static_cast<int>(q.shape[1]);
  return {{call[cuSeqlens].as<int32_t>(), lengths, pieces, documents, heads / static_cast<int>(groups)},
          HeadRows<const T>(q),
          HeadRows<const C>(call[1]),
          HeadRows<const C>(call[2]),
          HeadRows<T>(call[o]),
          keys,
          lse,
          call[sinks].present ? call[sinks].as<float>() : nullptr,
          static_cast<float>(call.attribute(0)) * kLog2E,
          static_cast<int>(call.attribute(1)),
          heads};
}

template <int D, class Keys, class C>
void launchPieces(const Call& call, const Forward<BFloat16, Keys, C>& forward, unsigned pieces, unsigned groups) {
  launch(call, dim3(pieces, groups), 32 * kPieceWarps, sizeof(ForwardTiles<D, kPieceWarps>),
         attendPieces<D, kPieceWarps, Keys, C>, forward);
}

template <int D>
void launchHopper(const Call& call, const Forward<BFloat16, PackedKeys>& forward, unsigned pieces, unsigned groups) {
  using Shape = HopperForward<D>;
  launch(call, dim3(pieces, groups), Shape::kThreads, sizeof(typename Shape::Tiles), attendHopper<D>, forward,
         headMap<Shape::kKeys>(call[1]), headMap<Shape::kKeys>(call[2]));
}

template <class T, class Keys, class C>
void launchRows(const Call& call, const Forward<T, Keys, C>& forward, unsigned pieces, unsigned groups) {
  const int D = static_cast<int>(call[0].shape[2]);
  withColumns(call, D, [&](auto columns) {
    launch(call, dim3(pieces, groups), 32 * kRowWarps, 0, attendRows<T, columns(), Keys, C>, forward, D);
  });
}

template <class T, class Keys, class C>
void number(const Call& call, const Forward<T, Keys, C>& forward, int64_t mostKeys, int rowsPerPiece, int fewest,
            int32_t* pieces) {
  launch(call, 1, kNumberThreads, 0, numberPieces, forward.documents, call[0].shape[0], mostKeys, rowsPerPiece, fewest, pieces,
         FailureReport(call));
}

// The splits of one-token sequences.
template <int D, class C>
void launchSplits(const Call& call, const Forward<BFloat16, PagedKeys, C>& forward, const Splits& splits, unsigned groups) {
  const Documents& documents = forward.documents;
  const dim3 grid(static_cast<unsigned>(documents.count), static_cast<unsigned>(groups * ceilDiv(documents.heads, kDecodeRows)),
                  static_cast<unsigned>(splits.count));
  launch(call, grid, 32, sizeof(ForwardTiles<D, 1>), attendSplits<D, C>, forward, splits, static_cast<int>(groups));
}

template <int D, class C, int kTiles>
void launchHopperTiles(const Call& call, const Forward<BFloat16, PagedKeys, C>& forward, const Splits& splits,
                       const SplitList& list, unsigned groups) {
  using Shape = HopperDecode<D, C, kTiles>;
  const int64_t most = int64_t{forward.documents.count} * splits.count * groups * ceilDiv(forward.documents.heads, Shape::kHeads);
  launch(call, static_cast<unsigned>(most < kDecodeBlocks ? most : kDecodeBlocks), Shape::kThreads,
         sizeof(typename Shape::Shared), attendSplitsHopper<D, C, kTiles>, forward, splits, list, static_cast<int>(groups));
}

template <int D, class C>
void launchHopperSplits(const Call& call, const Forward<BFloat16, PagedKeys, C>& forward, const Splits& splits,
                        const SplitList& list, unsigned groups) {
  // Sixteen heads at once where registers hold them.
  if constexpr (D < 256)
    if (forward.documents.heads > 8) return launchHopperTiles<D, C, 2>(call, forward, splits, list, groups);
  launchHopperTiles<D, C, 1>(call, forward, splits, list, groups);
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
    const auto forward = forwardOf<Element, Element>(call, keys, groups, 3, nullptr, pieces, 4, 5, call[6].as<float>());
    const bool tiles = takesTiles(call, {0, 1, 2, 5}), hopper = tiles && call.attribute(0) > 0 && hopperKernels();
    const int rows = hopper ? HopperForward<64>::kRows : tiles ? 16 * kPieceWarps : kRowWarps;
    number(call, forward, 0, rows, 1, pieces);
    if (q.elements() == 0) return;
    const unsigned count = mostPieces(T, forward.documents.heads, documents, rows);
    if constexpr (std::is_same_v<Element, BFloat16>) {
      if (tiles)
        return withHeadSize(q.shape[2], [&](auto D) {
          (hopper ? launchHopper<D()> : launchPieces<D(), PackedKeys, BFloat16>)(call, forward, count,
                                                                                 static_cast<unsigned>(groups));
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
  const bool tiles = takesTiles(call, {0, 1, 2, 7}), hopper = tiles && hopperKernels();
  const int splitCount = tiles ? splitsFor(mostKeys) : 0;
  const int64_t places = sequences * H * splitCount;
  const int64_t listBytes = rounded((sequences + 2) * 4), softmaxBytes = rounded(places * 8);
  char* const memory = call.scratch<char>(2 * listBytes + softmaxBytes + places * D * 4);
  int32_t *const pieces = reinterpret_cast<int32_t*>(memory), *const splitNumbers =
                                                                  reinterpret_cast<int32_t*>(memory + listBytes);
  const Splits splits{reinterpret_cast<float*>(memory + 2 * listBytes + softmaxBytes),
                      reinterpret_cast<float2*>(memory + 2 * listBytes), splitCount};
  const SplitList list{splitNumbers, splitNumbers + sequences + 1};
  withCache(q.dtype, cache.dtype, [&](auto query, auto cached) {
    using Element = decltype(query);
    using Cached = decltype(cached);
    const auto forward = forwardOf<Element, Cached>(call, keys, groups, 4, call[5].as<int32_t>(), pieces, 6, 7, nullptr);
    const int rows = tiles ? 16 * kPieceWarps : kRowWarps, heads = forward.documents.heads;
    if (hopper)
      launch(call, 1, kNumberThreads, 0, numberSplits, forward.documents, T, mostKeys, rows, forward.window, pieces, list,
             FailureReport(call));
    else number(call, forward, mostKeys, rows, tiles ? 2 : 1, pieces);
    if (q.elements() == 0) return;
    const unsigned count = mostPieces(T, heads, sequences, rows);
    if constexpr (std::is_same_v<Element, BFloat16>) {
      if (tiles)
        return withHeadSize(D, [&](auto size) {
          const unsigned parts = static_cast<unsigned>(groups);
          launchPieces<size()>(call, forward, count, parts);
          if (!hopper) launchSplits<size()>(call, forward, splits, parts);
          else launchHopperSplits<size()>(call, forward, splits, list, parts);
          launch(call, static_cast<unsigned>(ceilDiv(sequences * H, kJoinWarps)), 32 * kJoinWarps, 0, joinSplits<size(), Cached>,
                 forward, splits);
        });
    }
    launchRows(call, forward, count, static_cast<unsigned>(groups));
  });
}

// --- the cache ------------------------------------------------------------------------------------------------------------

namespace {
// Rows are a token's heads of keys, then of values, then of queries, which stay where they are. C is X, or fp8.
template <class X, class C>
struct WriteCache {
  Rows<X> k, v, q;
  Rows<C> keyCache, valueCache;
  Turn turn;
  const int32_t* slots;
  int64_t slotCount;
  int heads, groups;
  int64_t D;
  FailureReport fail;

  // C's spans of X's.
  __device__ static void convert(const X (&values)[kSpan], C (&written)[kSpan]) {
#pragma unroll
    for (int i = 0; i < kSpan; ++i) {
      if constexpr (std::is_same_v<X, C>) written[i] = values[i];
      else written[i] = toFloat8(toFloat(values[i]));
    }
  }

  __device__ void operator()(int64_t row, int64_t start, int) const {
    const int64_t t = row / (2 * groups + heads);
    const int head = static_cast<int>(row % (2 * groups + heads)), group = head % groups;
    X a[kSpan], b[kSpan];
    if (head >= 2 * groups) {
      if (start >= turn.pairs) return;
      const int64_t own = t * heads + head - 2 * groups;
      turn.load(a, b, q, own, start);
      turn.apply(a, b, t, start);
      turn.store(a, b, q, own, start);
      return;
    }
    const int slot = slots[t];
    if (slot < -1 || slot >= slotCount) {
      if (start == 0 && head == 0) fail(kSlot, slot, t);
      return;
    }
    if (slot < 0) return;
    Rows<X> source = head < groups ? k : v;
    Rows<C> target = head < groups ? keyCache : valueCache;
    const int64_t from = t * groups + group, to = int64_t{slot} * groups + group;
    C writtenA[kSpan], writtenB[kSpan];
    if (start < turn.pairs) {
      turn.load(a, b, source, from, start);
      if constexpr (!std::is_same_v<X, Float8>)
        if (head < groups) turn.apply(a, b, t, start);
      convert(a, writtenA);
      convert(b, writtenB);
      turn.store(writtenA, writtenB, target, to, start);
      return;
    }
    const int64_t at = 2 * turn.half + start - turn.pairs;
    const int count = static_cast<int>(D - at < kSpan ? D - at : kSpan);
    source.packed = source.packed && turn.half == 0;
    target.packed = target.packed && turn.half == 0;
    source.loadRaw(a, from, at, count);
    convert(a, writtenA);
    target.storeRaw(writtenA, to, at, count);
  }
};
}  // namespace

void kv_write(const Call& call) {
  const Tensor &k = call[0], &cache = call[3], &q = call[6];
  const Turn turn(call[5], 1);
  const int groups = static_cast<int>(k.shape[1]), heads = q.present ? static_cast<int>(q.shape[1]) : 0;
  withWritten(k.dtype, cache.dtype, [&](auto given, auto cached) {
    using X = decltype(given);
    using C = decltype(cached);
    forSpans(
        call, k.shape[0] * (2 * groups + heads), turn.pairs + k.shape[2] - 2 * turn.half,
        WriteCache<X, C>{Rows<X>(k), Rows<X>(call[1]), Rows<X>(q), Rows<C>(cache), Rows<C>(call[4]), turn, call[2].as<int32_t>(),
                         cache.shape[0] * cache.shape[1], heads, groups, k.shape[2], FailureReport(call)});
  });
}

}  // namespace cd::cuda

#include "../common/cuda_groups.h"
#include "../common/cuda_spans.h"
#include "../common/dispatch.h"
#include "dynamic_map.h"
#include "rates.h"

namespace cd::cuda {

namespace {
constexpr int kThreads = 256;
constexpr int kBlock = 256;  // elements that share one absmax: 8 for each lane of a warp
static_assert(kBlock == 32 * kSpan);

// Copies on the device: 9 kB each, that stay in the caches.
__device__ const DynamicMap kSigned = DynamicMap(true);
__device__ const DynamicMap kUnsigned = DynamicMap(false);

// Of one thread, before the updates.
__global__ void prepare(const float* learningRate, const int32_t* step, const float* factor, AdamWSettings settings,
                        FailureReport report, AdamWRates* rates) {
  if (*step < 1) report(0, *step);
  *rates = AdamWRates::of(settings, *learningRate, *step, factor ? *factor : 1.0f);
}

AdamWRates* prepared(const Call& call) {
  AdamWRates* rates = call.scratch<AdamWRates>(1);
  launch(call, 1, 1, 0, prepare, call[0].as<float>(), call[1].as<int32_t>(), call[2].as<float>(), AdamWSettings(call),
         FailureReport(call), rates);
  return rates;
}

// A tensor of one row, from where it lies.
template <class T>
__device__ __forceinline__ Rows<T> rowOf(T* data) {
  Rows<T> row;
  row.data = data;
  row.packed = reinterpret_cast<uintptr_t>(data) % alignof(SpanPack<T>) == 0;
  return row;
}

// The new p as p's type holds it: f32 as it is, bf16 rounded at random, after which storing it changes nothing. Of the span that
// starts at element `start`, a multiple of 8.
template <class T>
__device__ __forceinline__ void roundAtRandom(float (&values)[kSpan], uint64_t seed, uint32_t purpose, uint32_t step,
                                              int64_t start) {
  if constexpr (std::is_same_v<T, BFloat16>) {
#pragma unroll
    for (int block = 0; block < kSpan / 4; ++block) {
      const Philox draws = philox(seed, purpose, step, static_cast<uint64_t>(start / 4 + block));
#pragma unroll
      for (int word = 0; word < 4; ++word) {
        float& value = values[4 * block + word];
        const unsigned bits = __float_as_uint(value);
        if ((bits & 0x7f800000u) != 0x7f800000u) value = __uint_as_float((bits + (draws.word[word] >> 16)) & 0xffff0000u);
      }
    }
  }
}

// --- f32 state: a warp takes 256 elements --------------------------------------------------------------------------------
template <class T>
struct Group {
  T* p;
  float* g;
  float *m, *v;
  BFloat16* low;
  int64_t n, first;
  uint32_t purpose;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    update(GRID_CONSTANT(GroupTable<Group<T>>) table, const AdamWRates* ready, uint64_t seed) {
  const int64_t piece = int64_t{blockIdx.x} * (kThreads / 32) + warpIndex();
  const AdamWRates rates = *ready;
  if (piece >= table.pieces || rates.step == 0) return;  // a whole warp
  const int index = table.groupOf(piece);
  const Group<T>& group = table.group[index];
  const int64_t start = (piece - table.firstPiece[index]) * kBlock + laneIndex() * kSpan, rest = group.n - start;
  if (rest <= 0) return;
  const int count = static_cast<int>(rest < kSpan ? rest : kSpan);
  const Rows<T> p = rowOf(group.p);
  const Rows<float> m = rowOf(group.m), v = rowOf(group.v);
  float pi[kSpan], gi[kSpan], mi[kSpan], vi[kSpan];
  p.load(pi, 0, start, count);
  rowOf(group.g).load(gi, 0, start, count);
  m.load(mi, 0, start, count);
  v.load(vi, 0, start, count);
#pragma unroll
  for (int i = 0; i < kSpan; ++i) {
    const float gradient = gi[i] * rates.factor;
    mi[i] = fmaf(gradient - mi[i], rates.rest1, mi[i]);
    vi[i] = fmaf(gradient * gradient, rates.rest2, vi[i] * rates.keep2);
    pi[i] = pi[i] * rates.decay - rates.rate * mi[i] / (sqrtf(vi[i]) / rates.correction2 + rates.eps);
  }
  roundAtRandom<T>(pi, seed, group.purpose, rates.step, group.first + start);
  p.store(pi, 0, start, count);
  m.store(mi, 0, start, count);
  v.store(vi, 0, start, count);
  rowOf(group.low).store(pi, 0, start, count);
}

// --- 8-bit state: a warp takes the 256 elements that share one absmax ------------------------------------------------------
template <class T>
struct Group8Bit {
  T* p;
  float* g;
  uint8_t* mCodes;
  float* mAbsmax;
  uint8_t* vCodes;
  float* vAbsmax;
  BFloat16* low;
  int64_t n, first;
  uint32_t purpose;
};

__device__ __forceinline__ void decode(const DynamicMap& map, const uint8_t (&codes)[kSpan], float scale, int count,
                                       float (&values)[kSpan]) {
#pragma unroll
  for (int i = 0; i < kSpan; ++i) values[i] = i < count ? map.value[codes[i]] * scale : 0.0f;
}

// The nearest codes of the warp's 256 values in units of the largest, which is returned: the search of dynamic_map.h.
__device__ __forceinline__ float encode(const DynamicMap& map, const float (&values)[kSpan], uint8_t (&codes)[kSpan]) {
  float largest = 0;
#pragma unroll
  for (int i = 0; i < kSpan; ++i) largest = fmaxf(largest, fabsf(values[i]));
  largest = warpMax(largest);
  const float divisor = largest > 0 ? largest : 1.0f;
#pragma unroll
  for (int i = 0; i < kSpan; ++i) {
    const float x = values[i] / divisor;
    const int bits = __float_as_int(x);
    int bucket = min(max(((bits & 0x7fffffff) >> 16) - DynamicMap::kFirstBucket, 0), DynamicMap::kBuckets - 1);
    if (bits < 0) bucket += DynamicMap::kBuckets;
    int code = map.first[bucket];
    code += x > map.middle[code];
    // A negative value keeps its sign: the code of zero moves one down.
    code -= x < 0.0f && code == DynamicMap::kSignedZero;
    codes[i] = static_cast<uint8_t>(code);
  }
  return largest;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    update8Bit(GRID_CONSTANT(GroupTable<Group8Bit<T>>) table, const AdamWRates* ready, uint64_t seed) {
  const int64_t piece = int64_t{blockIdx.x} * (kThreads / 32) + warpIndex();
  const AdamWRates rates = *ready;
  if (piece >= table.pieces || rates.step == 0) return;  // a whole warp
  const int index = table.groupOf(piece);
  const Group8Bit<T>& group = table.group[index];
  const int64_t block = piece - table.firstPiece[index], start = block * kBlock + laneIndex() * kSpan, rest = group.n - start;
  const int count = static_cast<int>(rest < 0 ? 0 : rest < kSpan ? rest : kSpan);
  const Rows<T> p = rowOf(group.p);
  const Rows<uint8_t> mCodes = rowOf(group.mCodes), vCodes = rowOf(group.vCodes);
  float pi[kSpan], g[kSpan], m[kSpan], v[kSpan], updated[kSpan];
  uint8_t codes[kSpan];
  p.load(pi, 0, start, count);
  rowOf(group.g).load(g, 0, start, count);
  mCodes.loadRaw(codes, 0, start, count);
  decode(kSigned, codes, group.mAbsmax[block], count, m);
  vCodes.loadRaw(codes, 0, start, count);
  decode(kUnsigned, codes, group.vAbsmax[block], count, v);
#pragma unroll
  for (int i = 0; i < kSpan; ++i) {
    const float gradient = g[i] * rates.factor;
    const bool finite = gradient - gradient == 0;
    m[i] = finite ? fmaf(m[i], rates.keep1, gradient * rates.rest1) : 0.0f;
    v[i] = finite ? fmaf(v[i], rates.keep2, gradient * gradient * rates.rest2) : 0.0f;
    updated[i] = (pi[i] - rates.rate8 * m[i] / (sqrtf(v[i]) + rates.eps8)) * rates.decay;
    if (!finite) updated[i] = pi[i];
  }
  // A p of bf16 that stays as it is has no bits to round.
  roundAtRandom<T>(updated, seed, group.purpose, rates.step, group.first + start);
  p.store(updated, 0, start, count);
  rowOf(group.low).store(updated, 0, start, count);
  const float mLargest = encode(kSigned, m, codes);
  mCodes.storeRaw(codes, 0, start, count);
  const float vLargest = encode(kUnsigned, v, codes);
  vCodes.storeRaw(codes, 0, start, count);
  if (laneIndex() == 0) {
    group.mAbsmax[block] = mLargest;
    group.vAbsmax[block] = vLargest;
  }
}

// Launches `kernel` over all groups. describe(tensors of a group, first, purpose) → Group.
template <class Group, class Describe>
void launchUpdates(const Call& call, void (*kernel)(GRID_CONSTANT(GroupTable<Group>), const AdamWRates*, uint64_t),
                   Describe describe) {
  const AdamWRates* rates = prepared(call);
  const auto groupOf = [&](int group) {
    const int purpose = call.attributeOf(group, 5);
    return describe(call.tensors + call.tensorOf(group, 3), static_cast<int64_t>(call.attribute(purpose + 1)),
                    static_cast<uint32_t>(call.attribute(purpose)));
  };
  const auto blocksOf = [&](int group) { return ceilDiv(call[call.tensorOf(group, 3)].elements(), kBlock); };
  forTables<Group>(call, groupOf, blocksOf, [&](const GroupTable<Group>& table) {
    launch(call, static_cast<unsigned>(ceilDiv(table.pieces, kThreads / 32)), kThreads, 0, kernel, table, rates,
           AdamWSettings(call).seed);
  });
}
}  // namespace

void adamw(const Call& call) {
  withFloat(call[3].dtype, [&](auto zero) {
    using T = decltype(zero);
    launchUpdates<Group<T>>(call, update<T>, [](const Tensor* t, int64_t first, uint32_t purpose) {
      return Group<T>{t[0].as<T>(), t[1].as<float>(), t[2].as<float>(), t[3].as<float>(), t[4].as<BFloat16>(), t[0].elements(),
                      first,        purpose};
    });
  });
}

void adamw_8bit(const Call& call) {
  withFloat(call[3].dtype, [&](auto zero) {
    using T = decltype(zero);
    launchUpdates<Group8Bit<T>>(call, update8Bit<T>, [](const Tensor* t, int64_t first, uint32_t purpose) {
      return Group8Bit<T>{t[0].as<T>(),
                          t[1].as<float>(),
                          t[2].as<uint8_t>(),
                          t[3].as<float>(),
                          t[4].as<uint8_t>(),
                          t[5].as<float>(),
                          t[6].as<BFloat16>(),
                          t[0].elements(),
                          first,
                          purpose};
    });
  });
}

}  // namespace cd::cuda

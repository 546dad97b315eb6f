// Bugs in which keys a query sees. Each kernel is right with kBug = None; one thread takes one query of one head.
#include "../../kernels/attention/cache.h"
#include "../../kernels/attention/refusals.h"
#include "../../kernels/common/cuda.h"
#include "planted_kernels.h"

namespace cd::check {
using namespace cd::cuda;

namespace {
constexpr int kThreads = 64, kMaxHead = 256;
enum Bug { None, DocumentOffByOne, WindowOffByOne, SeesTheFuture, StaleKey, WrongBlock };

struct Sizes {
  int64_t rows, H, G, D;
  float scale;
  int64_t window;
};

// o = softmax(scale·q·kᵀ)·v over keys first … last, whose rows are keyOf(key) and valueOf(key). Returns the log of the sum.
template <class T, class KeyOf, class ValueOf>
__device__ float attend(const Sizes& s, const T* q, const KeyOf& keyOf, const ValueOf& valueOf, int64_t first, int64_t last,
                        const float* sink, T* o) {
  const auto score = [&](int64_t key) {
    float sum = 0;
    for (int64_t d = 0; d < s.D; ++d) sum = fmaf(toFloat(q[d]), toFloat(keyOf(key)[d]), sum);
    return sum * s.scale;
  };
  float largest = sink ? *sink : -INFINITY;
  for (int64_t key = first; key <= last; ++key) largest = fmaxf(largest, score(key));
  float total = sink ? expf(*sink - largest) : 0, sums[kMaxHead] = {};
  for (int64_t key = first; key <= last; ++key) {
    const float p = expf(score(key) - largest);
    total += p;
    for (int64_t d = 0; d < s.D; ++d) sums[d] = fmaf(p, toFloat(valueOf(key)[d]), sums[d]);
  }
  for (int64_t d = 0; d < s.D; ++d) o[d] = fromFloat<T>(sums[d] / total);
  return largest + logf(total);
}

__device__ inline void checkBounds(const int32_t* bounds, int64_t count, int64_t T, const FailureReport& fail) {
  if (bounds[0] != 0) return fail(attention::kStart, bounds[0]);
  for (int64_t i = 1; i < count; ++i)
    if (bounds[i] < bounds[i - 1]) return fail(attention::kFall, bounds[i], bounds[i - 1]);
  if (bounds[count - 1] != T) fail(attention::kEnd, bounds[count - 1]);
}

// The tensor's rows are heads of tokens.
template <class T>
struct Heads {
  const T* data;
  int64_t stride;
  explicit Heads(const Tensor& tensor) : data(tensor.as<T>()), stride(tensor.rowStride) {}
};

template <class T, Bug kBug>
__global__ void packed(Sizes s, Heads<T> q, Heads<T> k, Heads<T> v, const int32_t* bounds, int64_t count, const float* sinks,
                       T* o, int64_t oStride, float* lse, FailureReport fail) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x, t = row / s.H, h = row % s.H, group = h / (s.H / s.G);
  if (row >= s.rows) return;
  if (row == 0) checkBounds(bounds, count, s.rows / s.H, fail);
  int64_t first = 0;
  for (int64_t i = 0; i < count; ++i)
    if (kBug == DocumentOffByOne ? bounds[i] < t : bounds[i] <= t) first = bounds[i];
  const int64_t reach = kBug == WindowOffByOne ? s.window + 1 : s.window;
  if (s.window > 0 && t - reach + 1 > first) first = t - reach + 1;
  const int64_t last = kBug == SeesTheFuture && t + 1 < s.rows / s.H ? t + 1 : t;
  lse[row] = attend(
      s, q.data + row * q.stride, [&](int64_t key) { return k.data + (key * s.G + group) * k.stride; },
      [&](int64_t key) { return v.data + (key * s.G + group) * v.stride; }, first, last, sinks ? sinks + h : nullptr,
      o + row * oStride);
}

template <Bug kBug>
void packedBy(const Call& call) {
  const Tensor& q = call[0];
  const Sizes sizes{q.rows(),
                    q.shape[1],
                    call[1].shape[1],
                    q.shape[2],
                    static_cast<float>(call.attribute(0)),
                    static_cast<int64_t>(call.attribute(1))};
  withFloat(q.dtype, [&](auto zero) {
    using T = decltype(zero);
    launch(call, static_cast<unsigned>(ceilDiv(sizes.rows, kThreads)), kThreads, 0, packed<T, kBug>, sizes, Heads<T>(q),
           Heads<T>(call[1]), Heads<T>(call[2]), call[3].as<int32_t>(), call[3].elements(), call[4].as<float>(), call[5].as<T>(),
           call[5].rowStride, call[6].as<float>(), FailureReport(call));
  });
}

template <class T, class Cached, Bug kBug>
__global__ void paged(Sizes s, Heads<T> q, const Cached* keys, const Cached* values, const int32_t* table, int64_t width,
                      int64_t slots, const int32_t* bounds, const int32_t* lengths, const float* sinks, T* o) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x, t = row / s.H, h = row % s.H, group = h / (s.H / s.G);
  if (row >= s.rows) return;
  int64_t b = 0;
  while (bounds[b + 1] <= t) ++b;
  const int64_t position = lengths[b] - (bounds[b + 1] - t);
  int64_t first = s.window > 0 && position - s.window + 1 > 0 ? position - s.window + 1 : 0, last = position;
  // One slot too many, where the block has one.
  if (kBug == StaleKey && (last + 1) % slots != 0) ++last;
  const auto place = [&](int64_t key) {
    const int64_t block = kBug == WrongBlock && key % slots == 0 && key > 0 ? key / slots - 1 : key / slots;
    return ((table[b * width + block] * slots + key % slots) * s.G + group) * s.D;
  };
  attend(
      s, q.data + row * q.stride, [&](int64_t key) { return keys + place(key); },
      [&](int64_t key) { return values + place(key); }, first, last, sinks ? sinks + h : nullptr, o + row * s.D);
}

template <Bug kBug>
void pagedBy(const Call& call) {
  const Tensor& q = call[0];
  const Sizes sizes{q.rows(),
                    q.shape[1],
                    call[1].shape[2],
                    q.shape[2],
                    static_cast<float>(call.attribute(0)),
                    static_cast<int64_t>(call.attribute(1))};
  attention::withCache(q.dtype, call[1].dtype, [&](auto query, auto cached) {
    using T = decltype(query);
    using Cached = decltype(cached);
    launch(call, static_cast<unsigned>(ceilDiv(sizes.rows, kThreads)), kThreads, 0, paged<T, Cached, kBug>, sizes, Heads<T>(q),
           call[1].as<Cached>(), call[2].as<Cached>(), call[3].as<int32_t>(), call[3].cols(), call[1].shape[1],
           call[4].as<int32_t>(), call[5].as<int32_t>(), call[6].as<float>(), call[7].as<T>());
  });
}
}  // namespace

const std::vector<Planted> kAttentionBugs = {
    {"document found off by one in cuSeqlens", "attention", packedBy<None>, packedBy<DocumentOffByOne>},
    {"window off by one", "attention", packedBy<None>, packedBy<WindowOffByOne>},
    {"key after the query seen", "attention", packedBy<None>, packedBy<SeesTheFuture>},
    {"stale slot of the cache read", "paged_attention", pagedBy<None>, pagedBy<StaleKey>},
    {"first slot of a block looked up in the block before", "paged_attention", pagedBy<None>, pagedBy<WrongBlock>},
};

}  // namespace cd::check

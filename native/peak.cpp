#include "peak.h"

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace cd {
namespace {

// Enough independent chains to hide the latency of a multiply-add on every core there is.
constexpr int kChains = 12;
constexpr int64_t kRounds = 1 << 20;
constexpr int kPasses = 12;
// Far more than a last-level cache keeps, for each thread.
constexpr int64_t kBytes = 128 << 20;

// Where results go so that nothing is optimised away.
thread_local volatile float sinkFloat;
thread_local volatile uint64_t sinkInteger;

// One pass of kRounds · kChains vectors. Returns the floating-point operations done.
using Chains = double (*)();

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) double chainsAvx2() {
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  __m256 sums[kChains];
  for (int chain = 0; chain < kChains; ++chain) sums[chain] = _mm256_set1_ps(static_cast<float>(chain));
  for (int64_t round = 0; round < kRounds; ++round)
    for (int chain = 0; chain < kChains; ++chain) sums[chain] = _mm256_fmadd_ps(sums[chain], a, b);
  __m256 total = sums[0];
  for (int chain = 1; chain < kChains; ++chain) total = _mm256_add_ps(total, sums[chain]);
  sinkFloat = _mm256_cvtss_f32(total);
  return 2.0 * 8 * kChains * kRounds;
}

__attribute__((target("avx512f"))) double chainsAvx512() {
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
  __m512 sums[kChains];
  for (int chain = 0; chain < kChains; ++chain) sums[chain] = _mm512_set1_ps(static_cast<float>(chain));
  for (int64_t round = 0; round < kRounds; ++round)
    for (int chain = 0; chain < kChains; ++chain) sums[chain] = _mm512_fmadd_ps(sums[chain], a, b);
  __m512 total = sums[0];
  for (int chain = 1; chain < kChains; ++chain) total = _mm512_add_ps(total, sums[chain]);
  sinkFloat = _mm512_cvtss_f32(total);
  return 2.0 * 16 * kChains * kRounds;
}

__attribute__((target("avx512f,avx512bf16"))) double chainsBf16() {
  const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f803f80), b = (__m512bh)_mm512_set1_epi32(0x35803580);
  __m512 sums[kChains];
  for (int chain = 0; chain < kChains; ++chain) sums[chain] = _mm512_set1_ps(static_cast<float>(chain));
  for (int64_t round = 0; round < kRounds; ++round)
    for (int chain = 0; chain < kChains; ++chain) sums[chain] = _mm512_dpbf16_ps(sums[chain], a, b);
  __m512 total = sums[0];
  for (int chain = 1; chain < kChains; ++chain) total = _mm512_add_ps(total, sums[chain]);
  sinkFloat = _mm512_cvtss_f32(total);
  return 2.0 * 32 * kChains * kRounds;
}
#else
double chainsPortable() {
  float sums[4 * kChains];
  for (int chain = 0; chain < 4 * kChains; ++chain) sums[chain] = static_cast<float>(chain);
  for (int64_t round = 0; round < kRounds; ++round)
    for (int chain = 0; chain < 4 * kChains; ++chain) sums[chain] = __builtin_fmaf(sums[chain], 0.999f, 0.001f);
  float total = 0;
  for (float sum : sums) total += sum;
  sinkFloat = total;
  return 2.0 * 4 * kChains * kRounds;
}
#endif

Chains chainsOf(Rate rate) {
#if defined(__x86_64__)
  if (rate == Rate::BF16) return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bf16") ? chainsBf16 : nullptr;
  if (__builtin_cpu_supports("avx512f")) return chainsAvx512;
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? chainsAvx2 : nullptr;
#else
  return rate == Rate::BF16 ? nullptr : chainsPortable;
#endif
}

// What one thread does: allocated by the caller, prepared and run by the thread itself.
class MultiplyAdds {
 public:
  explicit MultiplyAdds(Rate rate) : chains_(chainsOf(rate)) {}
  void prepare() {}
  double run() { return chains_(); }

 private:
  Chains chains_;
};

class Memory {
 public:
  explicit Memory(Rate rate)
      : copy_(rate == Rate::Copy), source_(new uint64_t[kWords]), target_(copy_ ? new uint64_t[kWords] : nullptr) {}
  void prepare() {
    std::memset(source_.get(), 1, kBytes);
    if (copy_) std::memset(target_.get(), 2, kBytes);
  }
  double run() {
    if (copy_) {
      std::memcpy(target_.get(), source_.get(), kBytes);
      sinkInteger = target_[kWords / 2];
      return 2.0 * kBytes;
    }
    uint64_t sums[8] = {};
    for (int64_t word = 0; word < kWords; word += 8)
      for (int lane = 0; lane < 8; ++lane) sums[lane] += source_[word + lane];
    uint64_t total = 0;
    for (uint64_t sum : sums) total += sum;
    sinkInteger = total;
    return static_cast<double>(kBytes);
  }

 private:
  static constexpr int64_t kWords = kBytes / 8;
  bool copy_;
  std::unique_ptr<uint64_t[]> source_, target_;
};

// The threads go through each pass together; it lasts from the first start to the last end.
template <class Work>
double bestRate(Rate rate, int threads) {
  using Clock = std::chrono::steady_clock;
  std::vector<Work> works;
  for (int thread = 0; thread < threads; ++thread) works.emplace_back(rate);
  std::vector<Clock::time_point> starts(threads), ends(threads);
  std::barrier barrier(threads);
  double best = 0;
  const auto run = [&](int thread) {
    works[thread].prepare();
    for (int pass = 0; pass < kPasses; ++pass) {
      barrier.arrive_and_wait();
      starts[thread] = Clock::now();
      const double amount = works[thread].run();
      ends[thread] = Clock::now();
      barrier.arrive_and_wait();
      if (thread > 0) continue;
      const std::chrono::duration<double> seconds =
          *std::max_element(ends.begin(), ends.end()) - *std::min_element(starts.begin(), starts.end());
      best = std::max(best, threads * amount / seconds.count());
    }
  };
  std::vector<std::thread> helpers;
  for (int thread = 1; thread < threads; ++thread) helpers.emplace_back(run, thread);
  run(0);
  for (std::thread& helper : helpers) helper.join();
  return best;
}

}  // namespace

double measureRate(Rate rate, int threads) {
  if (rate == Rate::Copy || rate == Rate::Read) return bestRate<Memory>(rate, threads);
  return chainsOf(rate) ? bestRate<MultiplyAdds>(rate, threads) : 0;
}

}  // namespace cd

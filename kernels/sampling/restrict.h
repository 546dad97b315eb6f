// top-k, top-p and min-p without sorting the vocabulary.
//
// A token's distance d = (largest logit − its logit) / temperature is ≥ 0 and its weight is e^−d. One pass counts tokens
// and weights in buckets of distance; the bucket in which the k-th token or the p-th share falls is the only one sorted.
#pragma once

#include <algorithm>
#include <limits>

#include "../common/simd.h"

namespace cd::sampling {

struct Candidate {
  float distance;
  int32_t id;
  bool operator<(const Candidate& other) const {
    return distance < other.distance || (distance == other.distance && id < other.id);
  }
};

// The last token kept, in the order of rising distance, then rising id.
constexpr Candidate kKeepAll{std::numeric_limits<float>::infinity(), std::numeric_limits<int32_t>::max()};

class Restriction {
 public:
  // candidates: room for V.
  Restriction(const float* distances, int64_t V, Candidate* candidates) : distances_(distances), V_(V), candidates_(candidates) {
    countBuckets();
  }

  void topK(int64_t k) {
    if (k <= 0 || k >= V_) return;
    int64_t before = 0;
    int bucket = 0;
    while (before + count_[bucket] < k) before += count_[bucket++];
    const int64_t members = gather(bucket);
    std::nth_element(candidates_, candidates_ + (k - before - 1), candidates_ + members);
    last_ = candidates_[k - before - 1];
    for (int later = bucket + 1; later < kBuckets; ++later) weight_[later] = 0;
    weight_[bucket] = 0;
    for (int64_t i = 0, kept = gather(bucket); i < kept; ++i) weight_[bucket] += weight(candidates_[i].distance);
  }

  void topP(float share) {
    if (!(share < 1)) return;
    double total = 0;
    for (double weight : weight_) total += weight;
    const double target = share * total;
    double before = 0;
    int bucket = 0;
    while (bucket + 1 < kBuckets && before + weight_[bucket] < target) before += weight_[bucket++];
    // Rounding may point past the last kept token.
    int64_t members = gather(bucket);
    while (members == 0 && bucket > 0) members = gather(--bucket);
    std::sort(candidates_, candidates_ + members);
    int64_t kept = 0;
    while (kept < members && (kept == 0 || before < target)) before += weight(candidates_[kept++].distance);
    if (kept > 0) last_ = candidates_[kept - 1];
  }

  void minP(float ratio) {
    if (ratio > 0) last_ = std::min(last_, Candidate{-std::log(std::min(ratio, 1.0f)), kKeepAll.id});
  }

  Candidate last() const { return last_; }

  static float weight(float distance) { return simd::exp(simd::splat(-distance))[0]; }

 private:
  static constexpr int kBuckets = 512;
  static constexpr float kPerUnit = 16;  // a power of two: the bucket's bounds are exact; the last bucket has no end

  void countBuckets() {
    using namespace simd;
    for (int64_t i = 0; i < V_; i += kWidth) {
      const int64_t lanes = std::min<int64_t>(kWidth, V_ - i);
      const Vec distance = lanes < kWidth ? loadTail(distances_ + i, lanes) : load(distances_ + i);
      const IVec bucket = __builtin_convertvector(simd::minimum(distance * kPerUnit, splat(kBuckets - 1)), IVec);
      const Vec weight = simd::exp(-distance);
      int32_t buckets[kWidth];
      float weights[kWidth];
      std::memcpy(buckets, &bucket, sizeof(buckets));
      store(weights, weight);
      for (int64_t lane = 0; lane < lanes; ++lane) {
        ++count_[buckets[lane]];
        weight_[buckets[lane]] += weights[lane];
      }
    }
  }

  // The tokens of a bucket that are still kept, in the order of their ids.
  int64_t gather(int bucket) {
    const float from = static_cast<float>(bucket) / kPerUnit;
    const float to = bucket + 1 < kBuckets ? static_cast<float>(bucket + 1) / kPerUnit : kKeepAll.distance;
    int64_t members = 0;
    for (int64_t i = 0; i < V_; ++i) {
      const Candidate candidate{distances_[i], static_cast<int32_t>(i)};
      if (candidate.distance >= from && (candidate.distance < to || to == kKeepAll.distance) && !(last_ < candidate))
        candidates_[members++] = candidate;
    }
    return members;
  }

  const float* distances_;
  int64_t V_;
  Candidate* candidates_;
  Candidate last_ = kKeepAll;
  int64_t count_[kBuckets] = {};
  double weight_[kBuckets] = {};
};

}  // namespace cd::sampling

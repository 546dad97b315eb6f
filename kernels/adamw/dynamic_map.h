// The dynamic 8-bit maps of bitsandbytes (`create_dynamic_map`), built from their definition, and the search for the
// nearest code. For every decade 10^-6 … 10^0 the map holds the middles of 2^i (signed) or 2^(i+1) (unsigned) equal parts
// of [0.1, 1], i = 0 … 6, scaled by the decade; signed ones with both signs; then 0 and 1. Sorted ascending, 256 values.
#pragma once

#include <bit>
#include <cstdint>

namespace cd {

struct DynamicMap {
  static constexpr int kSignedZero = 127;  // the signed map's code of 0
  float value[256] = {};
  float middle[256] = {};  // between value[i] and value[i + 1]; the last is +∞
  // The nearest code of x in [−1, 1] is looked up by sign, exponent and the first 7 mantissa bits. Such a bucket is narrower than
  // the distance between codes, so it holds one middle at most: the code is first[bucket], plus 1 if x lies above the middle
  // after it. A tie takes the lower code. Buckets of negative numbers follow those of positive ones.
  //   bucket = clamp((bits of |x| >> 16) − kFirstBucket, 0, kBuckets − 1) + (sign bit of x) · kBuckets
  static constexpr int kFirstBucket = (127 - 27) << 7, kBuckets = (28 << 7) + 1;
  uint8_t first[2 * kBuckets] = {};

  constexpr explicit DynamicMap(bool withSign) {
    int count = 0;
    constexpr float kDecades[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1e0f};
    for (int i = 0; i < 7; ++i) {
      const float decade = kDecades[i];
      const int parts = 1 << (withSign ? i : i + 1);
      const float width = (1.0f - 0.1f) / static_cast<float>(parts);
      // The boundaries are torch.linspace's: counted from the nearer end.
      const auto boundary = [&](int k) {
        return k < (parts + 1) / 2 ? 0.1f + width * static_cast<float>(k) : 1.0f - width * static_cast<float>(parts - k);
      };
      for (int k = 0; k < parts; ++k) {
        const float mean = (boundary(k) + boundary(k + 1)) / 2.0f;
        value[count++] = decade * mean;
        if (withSign) value[count++] = -(decade * mean);
      }
    }
    value[count++] = 0.0f;
    value[count++] = 1.0f;
    for (int i = 1; i < 256; ++i)
      for (int k = i; k > 0 && value[k - 1] > value[k]; --k) {
        const float swapped = value[k];
        value[k] = value[k - 1];
        value[k - 1] = swapped;
      }
    for (int i = 0; i < 255; ++i) middle[i] = (value[i] + value[i + 1]) * 0.5f;
    middle[255] = std::bit_cast<float>(0x7f800000u);
    // first: the nearest code of the bucket's smallest number, which is its far edge where numbers are negative.
    for (int sign = 0; sign < 2; ++sign)
      for (int bucket = 0; bucket < kBuckets; ++bucket) {
        const float edge = std::bit_cast<float>(static_cast<uint32_t>(bucket + kFirstBucket + sign) << 16);
        const float low = sign ? -edge : bucket == 0 ? 0.0f : edge;
        int from = 0, to = 255;
        while (from < to) {
          const int half = (from + to) / 2;
          if (low > middle[half]) from = half + 1;
          else to = half;
        }
        first[sign * kBuckets + bucket] = static_cast<uint8_t>(from);
      }
  }
};

inline constexpr DynamicMap kSignedMap{true}, kUnsignedMap{false};

}  // namespace cd

#include "ggml_blocks.h"

#include "kernel.h"
#include "weight_parsing.h"

namespace cd {
namespace {

inline float halfToFloat(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  if (exponent == 0) return (half & 0x8000 ? -0x1p-24f : 0x1p-24f) * static_cast<float>(fraction);
  const int rebiased = exponent == 31 ? 255 : exponent + 112;
  return __builtin_bit_cast(
      float, (half & 0x8000u) << 16 | static_cast<uint32_t>(rebiased) << 23 | static_cast<uint32_t>(fraction) << 13);
}
inline float loadHalf(const uint8_t* source) { return halfToFloat(loadUnaligned<uint16_t>(source)); }

void fromF32(const uint8_t* source, float* out, int64_t count) { std::memcpy(out, source, static_cast<size_t>(count) * 4); }
void fromF16(const uint8_t* source, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = loadHalf(source + 2 * i);
}
void fromBF16(const uint8_t* source, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = toFloat(BFloat16{loadUnaligned<uint16_t>(source + 2 * i)});
}
void fromF64(const uint8_t* source, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(loadUnaligned<double>(source + 8 * i));
}

void fromQ4_0(const uint8_t* source, float* out, int64_t count) {
  for (; count > 0; count -= 32, source += 18, out += 32) {
    const float d = loadHalf(source);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>((source[2 + i] & 15) - 8);
      out[i + 16] = d * static_cast<float>((source[2 + i] >> 4) - 8);
    }
  }
}

void fromQ4_1(const uint8_t* source, float* out, int64_t count) {
  for (; count > 0; count -= 32, source += 20, out += 32) {
    const float d = loadHalf(source), m = loadHalf(source + 2);
    for (int i = 0; i < 16; ++i) {
      out[i] = d * static_cast<float>(source[4 + i] & 15) + m;
      out[i + 16] = d * static_cast<float>(source[4 + i] >> 4) + m;
    }
  }
}

void fromQ5_0(const uint8_t* source, float* out, int64_t count) {
  for (; count > 0; count -= 32, source += 22, out += 32) {
    const float d = loadHalf(source);
    const auto high = loadUnaligned<uint32_t>(source + 2);
    for (int i = 0; i < 16; ++i) {
      const int low = (source[6 + i] & 15) | (high >> i & 1) << 4, upper = source[6 + i] >> 4 | (high >> (i + 16) & 1) << 4;
      out[i] = d * static_cast<float>(low - 16);
      out[i + 16] = d * static_cast<float>(upper - 16);
    }
  }
}

void fromQ5_1(const uint8_t* source, float* out, int64_t count) {
  for (; count > 0; count -= 32, source += 24, out += 32) {
    const float d = loadHalf(source), m = loadHalf(source + 2);
    const auto high = loadUnaligned<uint32_t>(source + 4);
    for (int i = 0; i < 16; ++i) {
      const int low = (source[8 + i] & 15) | (high >> i & 1) << 4, upper = source[8 + i] >> 4 | (high >> (i + 16) & 1) << 4;
      out[i] = d * static_cast<float>(low) + m;
      out[i + 16] = d * static_cast<float>(upper) + m;
    }
  }
}

void fromQ8_0(const uint8_t* source, float* out, int64_t count) {
  for (; count > 0; count -= 32, source += 34, out += 32) {
    const float d = loadHalf(source);
    for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(static_cast<int8_t>(source[2 + i]));
  }
}

// The 6-bit scale and minimum of group j of 8, from the 12 bytes that Q4_K and Q5_K pack them in: the first four groups in
// the low six bits of bytes 0–3 and 4–7, the last four in the nibbles of bytes 8–11 with their top bits in bytes 0–7.
void groupScales(const uint8_t* packed, int j, int* scale, int* minimum) {
  if (j < 4) {
    *scale = packed[j] & 63;
    *minimum = packed[j + 4] & 63;
  } else {
    *scale = (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
    *minimum = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
  }
}

// d, dmin, 12 bytes of scales, then (Q5_K) 32 bytes of fifth bits: bit j of byte i belongs to element i of group j; then
// 128 bytes of nibbles: each 32 bytes hold one group low and the next one high.
template <bool kFive>
void fromQ45_K(const uint8_t* source, float* out, int64_t count) {
  for (; count > 0; count -= 256, source += kFive ? 176 : 144, out += 256) {
    const float d = loadHalf(source), dMin = loadHalf(source + 2);
    const uint8_t *fifth = source + 16, *nibbles = source + (kFive ? 48 : 16);
    for (int j = 0; j < 8; ++j) {
      int scale, minimum;
      groupScales(source + 4, j, &scale, &minimum);
      const float step = d * static_cast<float>(scale), base = dMin * static_cast<float>(minimum);
      for (int i = 0; i < 32; ++i) {
        int q = nibbles[j / 2 * 32 + i] >> (j % 2 * 4) & 15;
        if (kFive) q |= (fifth[i] >> j & 1) << 4;
        out[j * 32 + i] = step * static_cast<float>(q) - base;
      }
    }
  }
}

// 128 bytes of low nibbles, 64 of upper bit pairs, 16 signed scales, d. Each half of the block is 4 runs of 32: runs 0 and 1
// in the low nibbles of the half's 64 bytes, 2 and 3 in the high ones; run r has bits 2r of the half's 32 upper bytes.
void fromQ6_K(const uint8_t* source, float* out, int64_t count) {
  for (; count > 0; count -= 256, source += 210, out += 256) {
    const float d = loadHalf(source + 208);
    for (int half = 0; half < 2; ++half)
      for (int run = 0; run < 4; ++run)
        for (int i = 0; i < 32; ++i) {
          const int low = source[half * 64 + run % 2 * 32 + i] >> (run / 2 * 4) & 15;
          const int upper = source[128 + half * 32 + i] >> (2 * run) & 3;
          const auto scale = static_cast<int8_t>(source[192 + half * 8 + run * 2 + i / 16]);
          out[half * 128 + run * 32 + i] = d * static_cast<float>(scale) * static_cast<float>((low | upper << 4) - 32);
        }
  }
}

constexpr BlockFormat kFormats[] = {
    {0, "F32", 1, 4, fromF32},
    {1, "F16", 1, 2, fromF16},
    {30, "BF16", 1, 2, fromBF16},
    {28, "F64", 1, 8, fromF64},
    {2, "Q4_0", 32, 18, fromQ4_0},
    {3, "Q4_1", 32, 20, fromQ4_1},
    {6, "Q5_0", 32, 22, fromQ5_0},
    {7, "Q5_1", 32, 24, fromQ5_1},
    {8, "Q8_0", 32, 34, fromQ8_0},
    {12, "Q4_K", 256, 144, fromQ45_K<false>},
    {13, "Q5_K", 256, 176, fromQ45_K<true>},
    {14, "Q6_K", 256, 210, fromQ6_K},
    // Listed with their sizes, so that a file that holds them can be opened.
    {9, "Q8_1", 32, 36, nullptr},
    {10, "Q2_K", 256, 84, nullptr},
    {11, "Q3_K", 256, 110, nullptr},
    {15, "Q8_K", 256, 292, nullptr},
    {16, "IQ2_XXS", 256, 66, nullptr},
    {17, "IQ2_XS", 256, 74, nullptr},
    {18, "IQ3_XXS", 256, 98, nullptr},
    {19, "IQ1_S", 256, 50, nullptr},
    {20, "IQ4_NL", 32, 18, nullptr},
    {21, "IQ3_S", 256, 110, nullptr},
    {22, "IQ2_S", 256, 82, nullptr},
    {23, "IQ4_XS", 256, 136, nullptr},
    {29, "IQ1_M", 256, 56, nullptr},
    {34, "TQ1_0", 256, 54, nullptr},
    {35, "TQ2_0", 256, 66, nullptr},
    {39, "MXFP4", 32, 17, nullptr},
    {24, "I8", 1, 1, nullptr},
    {25, "I16", 1, 2, nullptr},
    {26, "I32", 1, 4, nullptr},
    {27, "I64", 1, 8, nullptr},
    {-1, "BOOL", 1, 1, nullptr},
    {-1, "U8", 1, 1, nullptr},
    {-1, "U16", 1, 2, nullptr},
    {-1, "U32", 1, 4, nullptr},
    {-1, "U64", 1, 8, nullptr},
    {-1, "C64", 1, 8, nullptr},
    {-1, "F8_E4M3", 1, 1, nullptr},
    {-1, "F8_E5M2", 1, 1, nullptr},
    {-1, "F8_E8M0", 1, 1, nullptr},
};

}  // namespace

const BlockFormat* findBlockFormat(std::string_view name) {
  for (const BlockFormat& format : kFormats)
    if (name == format.name) return &format;
  return nullptr;
}

const BlockFormat* findBlockFormat(int64_t ggmlType) {
  for (const BlockFormat& format : kFormats)
    if (ggmlType >= 0 && ggmlType == format.ggmlType) return &format;
  return nullptr;
}

std::string readableBlockFormats() {
  std::string names;
  for (const BlockFormat& format : kFormats)
    if (format.dequantise) names += (names.empty() ? "" : ", ") + std::string(format.name);
  return names;
}

}  // namespace cd

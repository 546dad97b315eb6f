// How numbers are stored in weight files: plain formats, and ggml's quantised blocks, where a few scales serve a block
// of small integers. Mathematics: the ggml format definition (block_q4_0 … block_q6_K); d and m below are f16.
//   Q4_0  32:  x = d·(q − 8)         q 4 bits; the first 16 in the low nibbles, the last 16 in the high ones
//   Q4_1  32:  x = d·q + m
//   Q5_0  32:  x = d·(q − 16)        the fifth bits in a 32-bit word
//   Q5_1  32:  x = d·q + m
//   Q8_0  32:  x = d·q               q signed 8 bits
//   Q4_K 256:  x = d·s·q − m·t       8 groups of 32 with 6-bit s and t
//   Q5_K 256:  as Q4_K with q 5 bits
//   Q6_K 256:  x = d·s·(q − 32)      16 groups of 16 with signed 8-bit s; q 6 bits
// Every product of scale and integer fits f32 exactly (Q6_K: is rounded once), so fused and unfused arithmetic agree.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cd {

struct BlockFormat {
  int32_t ggmlType;  // number in a GGUF file, −1 for formats of safetensors alone
  const char* name;
  int64_t elements;  // of a block, 1 for plain formats
  int64_t bytes;     // of a block
  // count values, a multiple of `elements`, to f32; source need not be aligned. Null: listed, but not readable.
  void (*dequantise)(const uint8_t* source, float* out, int64_t count);
};

const BlockFormat* findBlockFormat(std::string_view name);
const BlockFormat* findBlockFormat(int64_t ggmlType);
std::string readableBlockFormats();  // "F32, F16, …"

}  // namespace cd

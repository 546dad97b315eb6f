// Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011), shared by the CPU
// and CUDA kernels. A draw is a pure function of (seed, purpose, step, index): there is no generator state.
//
// key = seed (64 bits, low word first); counter = [block low, block high, step, purpose] where block = index / 4 and the
// draw is word index % 4 of the block.
#pragma once

#include "../../native/kernel.h"

namespace cd {

constexpr uint32_t kPhiloxMultiplier0 = 0xD2511F53u, kPhiloxMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;
constexpr int kPhiloxRounds = 10;

// Purposes drawn by kernels that choose their own; an operation with a 'purpose' attribute is told by its caller.
constexpr uint32_t kPurposeSample = 0x53414d50u;  // "SAMP"

struct Philox {
  uint32_t word[4];
};

CD_HOST_DEVICE inline Philox philox(Philox counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t product0 = static_cast<uint64_t>(kPhiloxMultiplier0) * counter.word[0];
    const uint64_t product1 = static_cast<uint64_t>(kPhiloxMultiplier1) * counter.word[2];
    counter = {{static_cast<uint32_t>(product1 >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(product1),
                static_cast<uint32_t>(product0 >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(product0)}};
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  return counter;
}

CD_HOST_DEVICE inline Philox philox(uint64_t seed, uint32_t purpose, uint32_t step, uint64_t block) {
  return philox({{static_cast<uint32_t>(block), static_cast<uint32_t>(block >> 32), step, purpose}}, static_cast<uint32_t>(seed),
                static_cast<uint32_t>(seed >> 32));
}

// Uniform in [0, 1): 24 bits of one word, or 53 bits of two.
CD_HOST_DEVICE inline float uniform24(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }
CD_HOST_DEVICE inline double uniform53(uint32_t high, uint32_t low) {
  return (static_cast<double>(high >> 5) * 0x1p26 + static_cast<double>(low >> 6)) * 0x1p-53;
}

}  // namespace cd

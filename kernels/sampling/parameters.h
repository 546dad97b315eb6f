// How one row is sampled, from its rows of `floats` and `ints` (sampling.h), for the CPU and CUDA kernels.
#pragma once

#include "../../native/kernel.h"

namespace cd::sampling {

struct Parameters {
  float temperature, topP, minP, presencePenalty, frequencyPenalty, repetitionPenalty;
  int32_t topK;
  uint64_t seed;
  uint32_t outputIndex;

  CD_HOST_DEVICE Parameters(const float* floats, const int32_t* ints)
      : temperature(floats[0]),
        topP(floats[1]),
        minP(floats[2]),
        presencePenalty(floats[3]),
        frequencyPenalty(floats[4]),
        repetitionPenalty(floats[5]),
        topK(ints[0]),
        seed(static_cast<uint32_t>(ints[1]) | static_cast<uint64_t>(static_cast<uint32_t>(ints[2])) << 32),
        outputIndex(static_cast<uint32_t>(ints[3])) {}
  CD_HOST_DEVICE bool hasPenalties() const { return presencePenalty != 0 || frequencyPenalty != 0 || repetitionPenalty != 1; }
};

}  // namespace cd::sampling

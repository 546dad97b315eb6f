// How a vocabulary is cut over ranks.
#pragma once

#include "../../native/kernel.h"

namespace cd::cross_entropy {

// Which of N parts has row `id`, where part n begins at ⌊n · vocabulary / N⌋.
CD_HOST_DEVICE inline int64_t partOf(int64_t id, int64_t N, int64_t vocabulary) { return ((id + 1) * N - 1) / vocabulary; }

}  // namespace cd::cross_entropy

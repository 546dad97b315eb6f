// The planted bugs, by file.
#pragma once

#include <vector>

#include "../planted.h"

namespace cd::cuda {
void copy(const Call& call);
}

namespace cd::check {

extern const std::vector<Planted> kSynchronisationBugs, kReductionBugs, kAttentionBugs, kHopperBugs;

}  // namespace cd::check

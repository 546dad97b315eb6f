#include "planted_kernels.h"

extern "C" __attribute__((visibility("default"))) const cd::check::Planted* compress_distill_planted(int* count) {
  using namespace cd::check;
  static const std::vector<Planted> all = [] {
    std::vector<Planted> all;
    for (const std::vector<Planted>* some : {&kSynchronisationBugs, &kReductionBugs, &kAttentionBugs, &kHopperBugs})
      all.insert(all.end(), some->begin(), some->end());
    return all;
  }();
  *count = static_cast<int>(all.size());
  return all.data();
}

#include "failure_log.h"

namespace cd {

namespace {
constexpr int64_t kBytes = (FailureLog::kPlaces + 1) * static_cast<int64_t>(sizeof(Failure));  // the count comes first
}

void FailureLog::open() {
  memory_ = accelerator_->allocate(kBytes);
  if (!memory_) throw Error("Device memory: not even " + std::to_string(kBytes) + " bytes are free; close other programs first");
  accelerator_->fill(memory_, 0, kBytes);
}

Failure* FailureLog::place(int64_t number) const { return static_cast<Failure*>(memory_) + 1 + number % kPlaces; }

std::vector<Failure> FailureLog::take() {
  std::vector<Failure> places(kPlaces + 1);
  accelerator_->synchronise();
  accelerator_->copyOut(places.data(), memory_, kBytes);
  accelerator_->synchronise();
  accelerator_->fill(memory_, 0, kBytes);
  seen_ = 0;
  places.erase(places.begin());
  return places;
}

}  // namespace cd

#include "cuda_transactions.h"

#include "cuda_fibers.h"

namespace cd::emulation {

namespace {
constexpr uint32_t kMagic = 0x6d626100;  // no memory that was not initialised holds this
}

void Transactions::init(BarrierWords* words, int arrivals) {
  if (arrivals < 1) current->fail("a barrier for " + std::to_string(arrivals) + " arrivals");
  for (const Barrier& barrier : barriers_)
    if (barrier.words == words) current->fail("a barrier is initialised twice");
  *words = {0, kMagic + static_cast<uint32_t>(barriers_.size())};
  barriers_.push_back({words, arrivals, arrivals});
}

size_t Transactions::find(const BarrierWords* words) const {
  const uint32_t number = words->number - kMagic;
  if (number >= barriers_.size() || barriers_[number].words != words)
    current->fail("a barrier that was not initialised, or whose memory was written over");
  return number;
}

void Transactions::arrive(BarrierWords* words, int64_t bytes) {
  Barrier& barrier = barriers_[find(words)];
  if (barrier.missing == 0)
    current->fail("one arrival more than the " + std::to_string(barrier.arrivals) + " that end a phase of this barrier");
  --barrier.missing;
  barrier.announced += bytes;
  endPhase(barrier);
}

void Transactions::copy(BarrierWords* words, int64_t bytes, std::function<void()> perform) {
  copies_.push_back({find(words), bytes, std::move(perform)});
}

bool Transactions::deliver(Order& order) {
  if (copies_.empty()) return false;
  const auto place = copies_.begin() + static_cast<std::ptrdiff_t>(order.pick(copies_.size()));
  const Copy copy = std::move(*place);
  copies_.erase(place);
  copy.perform();
  barriers_[copy.barrier].arrived += copy.bytes;
  endPhase(barriers_[copy.barrier]);
  return true;
}

void Transactions::endPhase(Barrier& barrier) {
  if (barrier.missing > 0 || barrier.announced != barrier.arrived) return;
  barrier.missing = barrier.arrivals;
  barrier.announced = barrier.arrived = 0;
  ++barrier.words->phase;
}

std::string Transactions::unfinished() const {
  std::string list;
  for (size_t number = 0; number < barriers_.size(); ++number) {
    const Barrier& barrier = barriers_[number];
    if (barrier.missing == barrier.arrivals && barrier.announced == barrier.arrived) continue;
    list += "; barrier " + std::to_string(number) + " (in the order of initialising) lacks " + std::to_string(barrier.missing) +
            " of " + std::to_string(barrier.arrivals) + " arrivals and has " + std::to_string(barrier.arrived) + " of " +
            std::to_string(barrier.announced) + " announced bytes";
  }
  return list;
}

}  // namespace cd::emulation

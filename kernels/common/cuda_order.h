// The order in which emulated warps, lanes, blocks and copies take turns: COMPRESS_DISTILL_EMULATION_ORDER.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "../../native/kernel.h"

namespace cd::emulation {

class Order {
 public:
  Order() {
    const char* name = std::getenv("COMPRESS_DISTILL_EMULATION_ORDER");
    if (!name || !std::strcmp(name, "forward")) return;
    if (!std::strcmp(name, "reverse")) reverse_ = true;
    else if (!std::strncmp(name, "seed:", 5)) state_ = 2 * std::strtoull(name + 5, nullptr, 10) + 1;
    else
      throw Error("Expected COMPRESS_DISTILL_EMULATION_ORDER to be forward, reverse or seed:N but received '" +
                  std::string(name) + "'");
  }
  // Puts 0 … count − 1 into `places`.
  template <class Integer>
  void arrange(Integer* places, int64_t count) {
    for (int64_t i = 0; i < count; ++i) places[i] = static_cast<Integer>(reverse_ ? count - 1 - i : i);
    for (int64_t i = state_ ? count - 1 : 0; i > 0; --i) std::swap(places[i], places[draw() % static_cast<uint64_t>(i + 1)]);
  }
  // One of 0 … count − 1: the first, the last or any.
  size_t pick(size_t count) { return reverse_ ? count - 1 : state_ ? draw() % count : 0; }

 private:
  uint64_t draw() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return state_ >> 33;
  }
  bool reverse_ = false;
  uint64_t state_ = 0;
};

}  // namespace cd::emulation

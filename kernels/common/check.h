// Checks of attributes, beside those of tensors in native/kernel.h.
#pragma once

#include "../../native/kernel.h"

namespace cd {

[[noreturn]] inline void failAttribute(const Call& call, int index, const char* expected) {
  char received[32];
  std::snprintf(received, sizeof(received), "%.9g", call.attribute(index));
  throw Error(std::string(call.op->name) + ": Expected '" + call.op->attributeName(index) + "' to be " + expected +
              " but received " + received);
}
inline bool isWhole(double value, double maximum) {
  return value >= 0 && value <= maximum && value == static_cast<double>(static_cast<int64_t>(value));
}

}  // namespace cd

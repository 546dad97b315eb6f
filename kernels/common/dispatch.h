// Turns a run-time float dtype into a template argument: withFloat(dtype, [&](auto zero) { using T = decltype(zero); … }).
#pragma once

#include "../../native/kernel.h"

namespace cd {

template <class Body>
inline void withFloat(DType dtype, Body&& body) {
  if (dtype == DType::BF16) body(BFloat16{});
  else body(float{});
}

}  // namespace cd

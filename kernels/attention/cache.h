// Element types of a cache, and of what is written to it or attends to it, as template arguments:
// withCache(q.dtype, cache.dtype, [&](auto query, auto cached) { using T = decltype(query); … }).
#pragma once

#include "../common/dispatch.h"
#include "../common/fp8.h"

namespace cd::attention {

template <class Body>
inline void withCache(DType dtype, DType cache, Body&& body) {
  withFloat(dtype, [&](auto zero) {
    if (cache == DType::FP8) body(zero, Float8{});
    else body(zero, zero);
  });
}

// The same for rows that may themselves come from a cache of fp8.
template <class Body>
inline void withWritten(DType dtype, DType cache, Body&& body) {
  if (dtype == DType::FP8) body(Float8{}, Float8{});
  else withCache(dtype, cache, body);
}

}  // namespace cd::attention

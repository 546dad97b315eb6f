// cuBLASLt on the host, for GPUs that are emulated: as far as its rules are concerned. COMPRESS_DISTILL_EMULATION_CUBLASLT says
// how it behaves; without it there is no such library.
//   agree      all its algorithms sum a row alike
//   differ     from 64 rows on the one that it likes best sums backwards, the next one does not
//   unfit      from 64 rows on all sum backwards, and the one for few rows takes no more than 32
#pragma once

#include <cstdlib>
#include <cstring>

#include "../common/cuda_runtime_host.h"
#include "cuda_lt.h"

namespace cd::cuda::lt {

struct EmulatedLayout {
  int type;
  int64_t rows, columns, leading;

  float at(const void* data, int64_t row, int64_t column) const {
    const int64_t place = column * leading + row;
    return type == kF32 ? static_cast<const float*>(data)[place] : toFloat(static_cast<const BFloat16*>(data)[place]);
  }
  void put(void* data, int64_t row, int64_t column, float value) const {
    const int64_t place = column * leading + row;
    if (type == kF32) static_cast<float*>(data)[place] = value;
    else static_cast<BFloat16*>(data)[place] = toBFloat16(value);
  }
};

inline Interface emulatedInterface() {
  static const std::string behaviour = [] {
    const char* const text = std::getenv("COMPRESS_DISTILL_EMULATION_CUBLASLT");
    return std::string(text ? text : "");
  }();
  using Desc = int32_t[8];
  enum { kForwards, kBackwards, kForwardsFewRows };
  Interface api{};
  api.create = [](Handle* handle) { return *handle = new int, 0; };
  api.descCreate = [](void** desc, int, int) { return *desc = new Desc{}, 0; };
  api.descSet = [](void* desc, int attribute, const void* value, size_t) {
    return std::memcpy(static_cast<int32_t*>(desc) + attribute, value, 4), 0;
  };
  api.layoutCreate = [](void** layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    *layout = new EmulatedLayout{type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), leading};
    return 0;
  };
  api.layoutDestroy = [](void* layout) { return delete static_cast<EmulatedLayout*>(layout), 0; };
  api.prefCreate = [](void** pref) { return *pref = new int, 0; };
  api.prefSet = [](void*, int, const void*, size_t) { return 0; };
  api.prefDestroy = [](void* pref) { return delete static_cast<int*>(pref), 0; };
  api.heuristic = [](Handle, void*, void*, void*, void*, void* d, void*, int, Candidate* candidates, int* found) {
    const bool many = static_cast<EmulatedLayout*>(d)->columns >= 64;
    const auto add = [&](uint64_t algorithm) { candidates[(*found)++] = {{{algorithm}}, 0, 0, 1, {}}; };
    *found = 0;
    if (many && behaviour != "agree") add(kBackwards);
    if (behaviour == "unfit" && !many) add(kForwardsFewRows);
    if (behaviour != "unfit") add(kForwards);
    return 0;
  };
  api.configGet = [](const Algorithm*, int, void* value, size_t bytes, size_t*) { return std::memset(value, 0, bytes), 0; };
  api.multiply = [](Handle, void* desc, const void* alpha, const void* a, void* aLayout, const void* b, void* bLayout,
                    const void* beta, const void* c, void* cLayout, void* d, void* dLayout, const Algorithm* algorithm, void*,
                    size_t, void*) {
    const auto &A = *static_cast<EmulatedLayout*>(aLayout), &B = *static_cast<EmulatedLayout*>(bLayout),
               &C = *static_cast<EmulatedLayout*>(cLayout), &D = *static_cast<EmulatedLayout*>(dLayout);
    const uint64_t kind = algorithm->data[0];
    if (kind == kForwardsFewRows && D.columns > 32) return 15;  // not supported
    const bool turnA = static_cast<int32_t*>(desc)[kDescTransA], turnB = static_cast<int32_t*>(desc)[kDescTransB];
    const int64_t depth = turnA ? A.rows : A.columns;
    const float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
    emulation::onStream([=] {
      for (int64_t i = 0; i < D.rows; ++i)
        for (int64_t j = 0; j < D.columns; ++j) {
          float sum = 0;
          for (int64_t step = 0; step < depth; ++step) {
            const int64_t k = kind == kBackwards ? depth - 1 - step : step;
            sum += (turnA ? A.at(a, k, i) : A.at(a, i, k)) * (turnB ? B.at(b, j, k) : B.at(b, k, j));
          }
          D.put(d, i, j, scale * sum + (keep != 0 ? keep * C.at(c, i, j) : 0));
        }
    });
    return 0;
  };
  api.complete = !behaviour.empty();
  return api;
}

}  // namespace cd::cuda::lt

// The few declarations of cuBLASLt's C interface that are used, so that building needs no header of it; found when the first
// product comes. In emulation a stand-in on the host (lt_emulated.h), where COMPRESS_DISTILL_EMULATION_CUBLASLT asks for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../../native/kernel.h"

namespace cd::cuda::lt {

using Handle = void*;
using Status = int;  // 0: success
struct Algorithm {
  uint64_t data[8];
};
struct Candidate {
  Algorithm algorithm;
  size_t workspace;
  Status state;
  float waves;
  int reserved[4];
};
enum DataType { kF32 = 0, kBF16 = 14 };     // cudaDataType_t
enum { kComputeF32 = 68 };                  // cublasComputeType_t
enum { kDescTransA = 3, kDescTransB = 4 };  // cublasLtMatmulDescAttributes_t
enum { kPrefWorkspace = 1, kPrefReductionMask = 3, kPrefAlignmentA = 5, kPrefImplementation = 12 };  // …PreferenceAttributes_t
enum { kConfigSplitK = 2, kConfigReduction = 3 };  // cublasLtMatmulAlgoConfigAttributes_t
constexpr uint64_t kImplementationFma = 1;         // cublasLtNumericalImplFlags_t: multiply-adds, no tensor core

struct Interface {
  Status (*create)(Handle*);
  Status (*descCreate)(void**, int compute, int scale);
  Status (*descSet)(void*, int attribute, const void*, size_t);
  Status (*layoutCreate)(void**, int type, uint64_t rows, uint64_t columns, int64_t leading);
  Status (*layoutDestroy)(void*);
  Status (*prefCreate)(void**);
  Status (*prefSet)(void*, int attribute, const void*, size_t);
  Status (*prefDestroy)(void*);
  Status (*heuristic)(Handle, void* desc, void* a, void* b, void* c, void* d, void* pref, int wanted, Candidate*, int* found);
  Status (*configGet)(const Algorithm*, int attribute, void*, size_t, size_t*);
  Status (*multiply)(Handle, void* desc, const void* alpha, const void* a, void* aLayout, const void* b, void* bLayout,
                     const void* beta, const void* c, void* cLayout, void* d, void* dLayout, const Algorithm*, void* workspace,
                     size_t workspaceBytes, void* stream);
  bool complete = false;  // all of it was found

  static const Interface& get();
};

inline void expect(Status status, const char* doing) {
  if (status != 0) throw Error(std::string("cuBLASLt: ") + doing + " failed with status " + std::to_string(status));
}

}  // namespace cd::cuda::lt

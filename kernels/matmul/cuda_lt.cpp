// Matrix products by cuBLASLt, under rules that make a row's result depend on that row alone: no split of K, no reduction
// between blocks, tensor cores only for bf16 (M is padded to 16, below which cuBLASLt would leave them), and one algorithm for
// all M of a bucket. The few declarations of cuBLASLt's C interface that it takes are here, so that building needs no header of
// it.
#include <cuda_runtime_api.h>
#include <library_types.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <tuple>
#include <type_traits>

#include "../common/cuda_library.h"
#include "cuda_matmul.h"

namespace cd::cuda {
namespace {

// --- cuBLASLt's interface ---------------------------------------------------------------------------------------------
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
                     size_t workspaceBytes, cudaStream_t);
  bool complete = false;

  Interface() {
    Library& library = cublasLt();
    const auto take = [&](auto& function, const char* name) {
      function = library.symbol<std::remove_pointer_t<std::remove_reference_t<decltype(function)>>>(name);
      return function != nullptr;
    };
    complete = take(create, "cublasLtCreate") && take(descCreate, "cublasLtMatmulDescCreate") &&
               take(descSet, "cublasLtMatmulDescSetAttribute") && take(layoutCreate, "cublasLtMatrixLayoutCreate") &&
               take(layoutDestroy, "cublasLtMatrixLayoutDestroy") && take(prefCreate, "cublasLtMatmulPreferenceCreate") &&
               take(prefSet, "cublasLtMatmulPreferenceSetAttribute") && take(prefDestroy, "cublasLtMatmulPreferenceDestroy") &&
               take(heuristic, "cublasLtMatmulAlgoGetHeuristic") && take(configGet, "cublasLtMatmulAlgoConfigGetAttribute") &&
               take(multiply, "cublasLtMatmul");
  }
};

const Interface& lt() {
  static const Interface interface;
  return interface;
}

void expect(Status status, const char* doing) {
  if (status != 0) throw Error(std::string("cuBLASLt: ") + doing + " failed with status " + std::to_string(status));
}

// --- one stream's handle and algorithms: of its thread, which belongs to one device
// ---------------------------------------------
constexpr int64_t kLargestBucket = 16384;
constexpr int kCandidates = 32;

// A row-major matrix is a column-major one transposed, so cuBLASLt computes cᵀ = op(b)ᵀ · op(a)ᵀ: its A is b, its B is a.
struct Product {
  const void *a, *b;
  void* c;
  int64_t M, N, K, aStride, bStride, cStride;
  bool transposeA, transposeB;
  cudaDataType_t input, output;
};

// Layouts live as long as one call.
struct Layout {
  void* handle = nullptr;
  Layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t leading) {
    expect(lt().layoutCreate(&handle, type, rows, columns, leading), "making a layout");
  }
  Layout(const Layout&) = delete;
  ~Layout() { lt().layoutDestroy(handle); }
};
struct Layouts {
  Layout b, a, c;
  // M may be more than the matrix has, to ask for an algorithm.
  Layouts(const Product& p, int64_t M)
      : b(p.input, p.transposeB ? p.K : p.N, p.transposeB ? p.N : p.K, p.bStride),
        a(p.input, p.transposeA ? M : p.K, p.transposeA ? p.K : M, p.transposeA ? std::max(p.aStride, M) : p.aStride),
        c(p.output, p.N, M, p.cStride) {}
};

uint32_t alignment(const void* address) {
  const auto bits = reinterpret_cast<uintptr_t>(address);
  return bits % 256 == 0 ? 256 : static_cast<uint32_t>(bits & -bits);
}

int64_t bucketOf(int64_t M) {
  int64_t bucket = kFewestRows;
  while (bucket < M && bucket < kLargestBucket) bucket *= 2;
  return bucket;
}

class Stream {
 public:
  Stream() {
    expect(lt().create(&handle_), "starting");
    for (int transposeA : {0, 1})
      for (int transposeB : {0, 1}) {
        void*& desc = descs_[transposeA][transposeB];
        expect(lt().descCreate(&desc, kComputeF32, CUDA_R_32F), "describing a product");
        const int32_t opB = transposeB ? 1 : 0, opA = transposeA ? 1 : 0;
        expect(lt().descSet(desc, kDescTransA, &opB, sizeof opB), "describing a product");
        expect(lt().descSet(desc, kDescTransB, &opA, sizeof opA), "describing a product");
      }
  }

  // False: cuBLASLt has nothing for this product that keeps the rules.
  bool run(const Product& p, float alpha, bool accumulate, void* workspace, cudaStream_t stream) {
    const Key key{p.transposeA, p.transposeB, p.input,        p.output,       p.N,           p.K, bucketOf(p.M), p.aStride,
                  p.bStride,    p.cStride,    alignment(p.a), alignment(p.b), alignment(p.c)};
    const auto [known, isNew] = algorithms_.try_emplace(key);
    if (isNew) known->second = choose(p);
    if (!known->second.usable) return false;
    const Layouts layouts(p, p.M);
    const float beta = accumulate ? 1.0f : 0.0f;
    const Status status =
        lt().multiply(handle_, desc(p), &alpha, p.b, layouts.b.handle, p.a, layouts.a.handle, &beta, p.c, layouts.c.handle, p.c,
                      layouts.c.handle, &known->second.algorithm, workspace, kProductWorkspace, stream);
    if (status != 0) known->second.usable = false;  // not for this M after all
    return status == 0;
  }

 private:
  using Key =
      std::tuple<bool, bool, int, int, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, uint32_t, uint32_t, uint32_t>;
  struct Choice {
    bool usable = false;
    Algorithm algorithm;
  };

  void* desc(const Product& p) const { return descs_[p.transposeA][p.transposeB]; }

  Choice choose(const Product& p) {
    void* pref = nullptr;
    expect(lt().prefCreate(&pref), "asking for an algorithm");
    const auto set = [&](int attribute, const auto& value) {
      expect(lt().prefSet(pref, attribute, &value, sizeof value), "asking for an algorithm");
    };
    set(kPrefWorkspace, static_cast<uint64_t>(kProductWorkspace));
    set(kPrefReductionMask, uint32_t{0});
    if (p.input == CUDA_R_16BF) set(kPrefImplementation, ~kImplementationFma);
    const void* const operands[] = {p.b, p.a, p.c, p.c};
    for (int index = 0; index < 4; ++index) set(kPrefAlignmentA + index, alignment(operands[index]));

    const Layouts layouts(p, bucketOf(p.M));
    Candidate candidates[kCandidates];
    int found = 0;
    const Status status = lt().heuristic(handle_, desc(p), layouts.b.handle, layouts.a.handle, layouts.c.handle, layouts.c.handle,
                                         pref, kCandidates, candidates, &found);
    lt().prefDestroy(pref);
    for (int index = 0; status == 0 && index < found; ++index) {
      const Candidate& candidate = candidates[index];
      int32_t splits = 0;
      uint32_t reduction = 0;
      size_t written;
      const bool known = lt().configGet(&candidate.algorithm, kConfigSplitK, &splits, sizeof splits, &written) == 0 &&
                         lt().configGet(&candidate.algorithm, kConfigReduction, &reduction, sizeof reduction, &written) == 0;
      if (candidate.state == 0 && known && splits <= 1 && reduction == 0 && candidate.workspace <= kProductWorkspace)
        return {true, candidate.algorithm};
    }
    return {};
  }

  Handle handle_ = nullptr;
  void* descs_[2][2];
  std::map<Key, Choice> algorithms_;
};

void check(cudaError_t error, const char* doing) {
  if (error != cudaSuccess) throw Error(std::string(doing) + " failed: " + cudaGetErrorString(error));
}

int64_t roundUp(int64_t bytes) { return (bytes + 255) / 256 * 256; }
}  // namespace

bool multiplyWithLibrary(const Call& call) {
  // For checks of our own kernels, and for comparing with them.
  static const char* const chosen = std::getenv("COMPRESS_DISTILL_MATMUL");
  if ((chosen && std::string(chosen) == "plain") || !lt().complete) return false;
  const Tensor &a = call[0], &b = call[1], &c = call[2];
  Product p{};
  p.transposeA = call.attribute(0) != 0;
  p.transposeB = call.attribute(1) != 0;
  p.M = c.shape[0];
  p.N = c.shape[1];
  p.K = a.shape[p.transposeA ? 0 : 1];
  if (p.M == 0 || p.N == 0 || p.K == 0) return false;
  if (a.dtype == DType::F32 && c.dtype == DType::BF16) return false;  // not among its combinations
  p.input = a.dtype == DType::F32 ? CUDA_R_32F : CUDA_R_16BF;
  p.output = c.dtype == DType::F32 ? CUDA_R_32F : CUDA_R_16BF;
  p.a = a.data;
  p.b = b.data;
  p.c = c.data;
  p.aStride = a.rowStride;
  p.bStride = b.rowStride;
  p.cStride = c.rowStride;
  const bool accumulate = call.attribute(2) != 0;
  const auto stream = static_cast<cudaStream_t>(call.stream);

  // Fewer rows go in and out through a padded copy; what the other rows of it come to is left there.
  const bool pad = p.M < kFewestRows;
  const int64_t aSize = dtypeSize(a.dtype), cSize = dtypeSize(c.dtype);
  const int64_t aRows = p.transposeA ? p.K : kFewestRows, aColumns = p.transposeA ? kFewestRows : p.K;
  const int64_t aBytes = pad ? roundUp(aRows * aColumns * aSize) : 0, cBytes = pad ? roundUp(kFewestRows * p.N * cSize) : 0;
  char* const scratch = call.scratch<char>(kProductWorkspace + aBytes + cBytes);
  char *const padded = scratch + kProductWorkspace, *const paddedC = padded + aBytes;
  if (pad) {
    check(cudaMemsetAsync(padded, 0, aBytes + cBytes, stream), "padding rows");
    check(cudaMemcpy2DAsync(padded, aColumns * aSize, a.data, a.rowStride * aSize, a.shape[1] * aSize, a.shape[0],
                            cudaMemcpyDeviceToDevice, stream),
          "padding rows");
    if (accumulate)
      check(cudaMemcpy2DAsync(paddedC, p.N * cSize, c.data, c.rowStride * cSize, p.N * cSize, p.M, cudaMemcpyDeviceToDevice,
                              stream),
            "padding rows");
    p.a = padded;
    p.aStride = aColumns;
    p.c = paddedC;
    p.cStride = p.N;
    p.M = kFewestRows;
  }

  thread_local Stream product;
  if (!product.run(p, static_cast<float>(call.attribute(3)), accumulate, scratch, stream)) return false;
  if (pad)
    check(cudaMemcpy2DAsync(c.data, c.rowStride * cSize, paddedC, p.N * cSize, p.N * cSize, c.shape[0], cudaMemcpyDeviceToDevice,
                            stream),
          "taking rows out of their padding");
  return true;
}

}  // namespace cd::cuda

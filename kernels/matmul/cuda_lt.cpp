// Matrix products by cuBLASLt, under rules that make a row's result depend on that row alone: no split of K, no reduction
// between blocks, tensor cores only for bf16 (M is padded to 16, below which cuBLASLt would leave them), and one algorithm for
// all M of a bucket. Algorithms of different buckets must agree bit for bit on rows of random numbers; where none does, the
// kernels of this project take the products of that N and K, whatever their M.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <tuple>
#include <type_traits>

#include "cuda_lt_probe.h"
#include "cuda_matmul.h"
#if defined(CD_EMULATE)
#include "lt_emulated.h"
#else
#include "../common/cuda_library.h"
#endif

namespace cd::cuda {

namespace lt {
const Interface& Interface::get() {
  static const Interface api = [] {
#if defined(CD_EMULATE)
    return emulatedInterface();
#else
    Interface found;
    Library& library = cublasLt();
    const auto take = [&](auto& function, const char* name) {
      function = library.symbol<std::remove_pointer_t<std::remove_reference_t<decltype(function)>>>(name);
      return function != nullptr;
    };
    found.complete =
        take(found.create, "cublasLtCreate") && take(found.descCreate, "cublasLtMatmulDescCreate") &&
        take(found.descSet, "cublasLtMatmulDescSetAttribute") && take(found.layoutCreate, "cublasLtMatrixLayoutCreate") &&
        take(found.layoutDestroy, "cublasLtMatrixLayoutDestroy") && take(found.prefCreate, "cublasLtMatmulPreferenceCreate") &&
        take(found.prefSet, "cublasLtMatmulPreferenceSetAttribute") &&
        take(found.prefDestroy, "cublasLtMatmulPreferenceDestroy") && take(found.heuristic, "cublasLtMatmulAlgoGetHeuristic") &&
        take(found.configGet, "cublasLtMatmulAlgoConfigGetAttribute") && take(found.multiply, "cublasLtMatmul");
    return found;
#endif
  }();
  return api;
}
}  // namespace lt

namespace {
using namespace lt;

// --- one stream's handle and algorithms: of its thread, which belongs to one device -------------------------------------------
constexpr int64_t kLargestBucket = 16384;
constexpr int kCandidates = 32;

int64_t bucketOf(int64_t M) {
  int64_t bucket = kFewestRows;
  while (bucket < M && bucket < kLargestBucket) bucket *= 2;
  return bucket;
}

class Stream {
 public:
  Stream() {
    expect(api_.create(&handle_), "starting");
    for (int transposeA : {0, 1})
      for (int transposeB : {0, 1}) {
        void*& desc = descs_[transposeA][transposeB];
        expect(api_.descCreate(&desc, kComputeF32, kF32), "describing a product");
        const int32_t opB = transposeB ? 1 : 0, opA = transposeA ? 1 : 0;
        expect(api_.descSet(desc, kDescTransA, &opB, sizeof opB), "describing a product");
        expect(api_.descSet(desc, kDescTransB, &opA, sizeof opA), "describing a product");
      }
  }

  // False: cuBLASLt has nothing for this product that keeps the rules.
  bool run(const Product& p, float alpha, bool accumulate, void* workspace, cudaStream_t stream) {
    // Where a is transposed M is no number of tokens, and nothing is promised.
    if (!p.transposeA && !agreed(p, workspace, stream).usable) return false;
    const auto [known, isNew] = algorithms_.try_emplace(keyOf(p, bucketOf(p.M)));
    if (isNew) known->second = p.transposeA ? first(p) : agreeing(p, bucketOf(p.M), workspace, stream);
    if (!known->second.usable) return false;
    if (!multiply(p, known->second.algorithm, alpha, accumulate, workspace, stream)) known->second.usable = false;
    return known->second.usable;
  }

 private:
  using Key = std::tuple<bool, bool, int, int, int64_t, int64_t, int64_t, std::array<int64_t, 3>, std::array<uint32_t, 3>>;
  struct Choice {
    bool usable = false;
    Algorithm algorithm{};
  };
  // What all algorithms for one N, K, layout of b and dtypes must make of the probe's rows.
  struct Agreement {
    bool usable = false;
    std::vector<char> rows;
    Algorithm algorithm{};  // for few rows, whose bits these are
  };

  static Key keyOf(const Product& p, int64_t bucket) {
    return {p.transposeA,
            p.transposeB,
            p.input,
            p.output,
            p.N,
            p.K,
            bucket,
            {p.aStride, p.bStride, p.cStride},
            {alignment(p.a), alignment(p.b), alignment(p.c)}};
  }
  void* desc(const Product& p) const { return descs_[p.transposeA][p.transposeB]; }

  bool multiply(const Product& p, const Algorithm& algorithm, float alpha, bool accumulate, void* workspace,
                cudaStream_t stream) {
    const Layouts layouts(p, p.M);
    const float beta = accumulate ? 1.0f : 0.0f;
    return api_.multiply(handle_, desc(p), &alpha, p.b, layouts.b.handle, p.a, layouts.a.handle, &beta, p.c, layouts.c.handle,
                         p.c, layouts.c.handle, &algorithm, workspace, kProductWorkspace, stream) == 0;
  }

  // Decided for every bucket when the first product comes, so that no result depends on what was computed before it.
  const Agreement& agreed(const Product& p, void* workspace, cudaStream_t stream) {
    const auto [known, isNew] = agreements_.try_emplace({p.transposeB, p.input, p.output, p.N, p.K});
    Agreement& agreement = known->second;
    if (!isNew) return agreement;
    Product whole = p;  // as large tensors of their own lie
    whole.a = whole.b = whole.c = nullptr;
    whole.aStride = p.K;
    whole.bStride = p.transposeB ? p.K : p.N;
    whole.cStride = p.N;
    Probe probe(p, stream);
    for (const Algorithm& candidate : candidates(whole, kFewestRows)) {
      agreement.rows = rowsOf(probe, candidate, kFewestRows, workspace, stream);
      if (agreement.rows.empty()) continue;
      agreement.algorithm = candidate;
      agreement.usable = true;
      break;
    }
    for (int64_t bucket = kFewestRows; bucket <= kLargestBucket && agreement.usable; bucket *= 2) {
      const Choice choice = agreeing(whole, bucket, workspace, stream, &probe, &agreement);
      agreement.usable = choice.usable;
      algorithms_[keyOf(whole, bucket)] = choice;
    }
    if (!agreement.usable)
      std::fprintf(
          stderr,
          "warning: cuBLASLt has no algorithms for products with N=%lld, K=%lld in %s that agree on a row's bits for every "
          "number of rows; the kernels of this project compute them\n",
          static_cast<long long>(p.N), static_cast<long long>(p.K), p.input == kF32 ? "f32" : "bf16");
    return agreement;
  }

  // The first candidate for so many rows that makes of the probe's what was agreed on; else the one for few rows.
  Choice agreeing(const Product& p, int64_t bucket, void* workspace, cudaStream_t stream) {
    Probe probe(p, stream);
    return agreeing(p, bucket, workspace, stream, &probe, &agreements_.at({p.transposeB, p.input, p.output, p.N, p.K}));
  }
  Choice agreeing(const Product& p, int64_t bucket, void* workspace, cudaStream_t stream, Probe* probe,
                  const Agreement* agreement) {
    std::vector<Algorithm> list = candidates(p, bucket);
    list.push_back(agreement->algorithm);
    for (const Algorithm& candidate : list)
      if (rowsOf(*probe, candidate, bucket, workspace, stream) == agreement->rows) return {true, candidate};
    return {};
  }

  std::vector<char> rowsOf(Probe& probe, const Algorithm& algorithm, int64_t M, void* workspace, cudaStream_t stream) {
    return probe.rows(M, [&](const Product& p) { return multiply(p, algorithm, 1, false, workspace, stream); });
  }

  Choice first(const Product& p) {
    const std::vector<Algorithm> list = candidates(p, bucketOf(p.M));
    return list.empty() ? Choice{} : Choice{true, list.front()};
  }

  // Algorithms for M rows that keep the rules, the fastest first as cuBLASLt guesses.
  std::vector<Algorithm> candidates(const Product& p, int64_t M) {
    void* pref = nullptr;
    expect(api_.prefCreate(&pref), "asking for an algorithm");
    const auto set = [&](int attribute, const auto& value) {
      expect(api_.prefSet(pref, attribute, &value, sizeof value), "asking for an algorithm");
    };
    set(kPrefWorkspace, static_cast<uint64_t>(kProductWorkspace));
    set(kPrefReductionMask, uint32_t{0});
    if (p.input == kBF16) set(kPrefImplementation, ~kImplementationFma);
    const void* const operands[] = {p.b, p.a, p.c, p.c};
    for (int index = 0; index < 4; ++index) set(kPrefAlignmentA + index, alignment(operands[index]));

    const Layouts layouts(p, M);
    Candidate candidates[kCandidates];
    int found = 0;
    const Status status = api_.heuristic(handle_, desc(p), layouts.b.handle, layouts.a.handle, layouts.c.handle, layouts.c.handle,
                                         pref, kCandidates, candidates, &found);
    api_.prefDestroy(pref);
    std::vector<Algorithm> list;
    for (int index = 0; status == 0 && index < found; ++index) {
      const Candidate& candidate = candidates[index];
      int32_t splits = 0;
      uint32_t reduction = 0;
      size_t written;
      const bool known = api_.configGet(&candidate.algorithm, kConfigSplitK, &splits, sizeof splits, &written) == 0 &&
                         api_.configGet(&candidate.algorithm, kConfigReduction, &reduction, sizeof reduction, &written) == 0;
      if (candidate.state == 0 && known && splits <= 1 && reduction == 0 && candidate.workspace <= kProductWorkspace)
        list.push_back(candidate.algorithm);
    }
    return list;
  }

  const Interface& api_ = Interface::get();
  Handle handle_ = nullptr;
  void* descs_[2][2];
  std::map<Key, Choice> algorithms_;
  std::map<std::tuple<bool, int, int, int64_t, int64_t>, Agreement> agreements_;
};

void check(cudaError_t error, const char* doing) {
  if (error != cudaSuccess) throw Error(std::string(doing) + " failed: " + cudaGetErrorString(error));
}

int64_t roundUp(int64_t bytes) { return (bytes + 255) / 256 * 256; }
}  // namespace

bool multiplyWithLibrary(const Call& call) {
  // For checks of our own kernels, and for comparing with them.
  static const char* const chosen = std::getenv("COMPRESS_DISTILL_MATMUL");
  if ((chosen && std::string(chosen) == "plain") || !Interface::get().complete) return false;
  const Tensor &a = call[0], &b = call[1], &c = call[2];
  Product p{};
  p.transposeA = call.attribute(0) != 0;
  p.transposeB = call.attribute(1) != 0;
  p.M = c.shape[0];
  p.N = c.shape[1];
  p.K = a.shape[p.transposeA ? 0 : 1];
  if (p.M == 0 || p.N == 0 || p.K == 0) return false;
  if (a.dtype == DType::F32 && c.dtype == DType::BF16) return false;  // not among its combinations
  p.input = a.dtype == DType::F32 ? kF32 : kBF16;
  p.output = c.dtype == DType::F32 ? kF32 : kBF16;
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

// What a kernel sees: tensors, attributes, a place to parallelise and a place to scribble. Shared by the addon,
// by every back-end plug-in (one shared library per instruction set, one for CUDA) and by the kernel tests.
#pragma once

#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

// What kernels use on a GPU as well.
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#define CD_HOST_DEVICE __host__ __device__
#else
#define CD_HOST_DEVICE
#endif

namespace cd {

// FP8 is e4m3 (kernels/common/fp8.h).
enum class DType : uint8_t { F32, BF16, I32, U8, FP8 };

inline const char* dtypeName(DType dtype) {
  constexpr const char* kNames[] = {"f32", "bf16", "i32", "u8", "fp8"};
  return kNames[static_cast<int>(dtype)];
}
inline int64_t dtypeSize(DType dtype) {
  constexpr int64_t kSizes[] = {4, 2, 4, 1, 1};
  return kSizes[static_cast<int>(dtype)];
}

// A wrong argument (thrown while enqueueing) or a failure while running (poisons what the operation writes).
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// bf16 is stored as its 16 bits; conversion rounds to nearest even and keeps NaN a NaN.
struct BFloat16 {
  uint16_t bits;
};
CD_HOST_DEVICE inline float toFloat(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  __builtin_memcpy(&result, &bits, 4);
  return result;
}
CD_HOST_DEVICE inline float toFloat(float value) { return value; }
CD_HOST_DEVICE inline BFloat16 toBFloat16(float value) {
#if defined(__CUDA_ARCH__)
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};  // one instruction; its NaN has other bits
#endif
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16)};
}
template <class T>
CD_HOST_DEVICE inline T fromFloat(float value) {
  if constexpr (std::is_same_v<T, BFloat16>) return toBFloat16(value);
  else return static_cast<T>(value);
}

constexpr int kMaxRank = 4;

// A view of storage: contiguous, or narrowed along its first or last dimension. A narrowed last dimension shows as
// rowStride > the last dimension: the distance, in elements, between one row (all but the last index fixed) and the next.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::F32;
  bool present = false;  // an optional argument that was left out is not present
  int rank = 0;
  int64_t shape[kMaxRank] = {0, 0, 0, 0};
  int64_t rowStride = 0;

  int64_t cols() const { return rank == 0 ? 1 : shape[rank - 1]; }
  int64_t rows() const {
    int64_t rows = 1;
    for (int axis = 0; axis + 1 < rank; ++axis) rows *= shape[axis];
    return rows;
  }
  int64_t elements() const { return rows() * cols(); }
  bool contiguous() const { return rowStride == cols() || rows() <= 1; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  template <class T>
  T* row(int64_t index) const {
    return static_cast<T*>(data) + index * rowStride;
  }
};

inline std::string shapeText(const Tensor& tensor) {
  std::string text = "[";
  for (int axis = 0; axis < tensor.rank; ++axis) text += (axis ? ", " : "") + std::to_string(tensor.shape[axis]);
  return text + "]";
}

// Runs body(task, worker) for every task in [0, count), on the process-wide pool. Which worker takes a task is not
// fixed, so a task's result must depend on the task alone. worker is in [0, workers()). The first exception is rethrown.
class Parallel {
 public:
  using Body = void (*)(void* state, int64_t task, int worker);
  virtual ~Parallel() = default;
  virtual int workers() const = 0;
  virtual void run(int64_t count, Body body, void* state) = 0;
};

// Memory for the duration of one call, aligned to 64 bytes, contents undefined. One request a call.
class Scratch {
 public:
  virtual ~Scratch() = default;
  virtual void* reserve(int64_t bytes) = 0;
};

enum class Access : uint8_t {
  In,     // read
  Out,    // every element overwritten
  InOut,  // read and overwritten, or accumulated into
};

struct TensorParameter {
  const char* name;
  Access access;
  bool optional = false;
};

struct Call;
class Accelerator;
class Collective;

// Bad data that a kernel of an accelerator found (on the CPU a kernel throws). It lies in the device's memory, one for each
// command: the first thread that changes `claimed` from 0 to 1 writes the rest and counts the failure (Call::failureCount).
struct Failure {
  int32_t claimed;
  int32_t code;  // the operation's own numbering
  int64_t values[4];
};

// The contract of an operation, independent of any back end. The prose is in the header of its folder in kernels/.
struct Op {
  const char* name;
  std::initializer_list<TensorParameter> tensors;
  std::initializer_list<const char*> attributes;
  void (*check)(const Call&);  // throws Error, naming the argument; runs while enqueueing, so it reads no data
  // What a failure means, in the words that the CPU kernel throws; null where no kernel reports any.
  std::string (*explain)(const Call&, const Failure&) = nullptr;
  bool collective = false;  // its first attribute is the number of a communicator, whose every rank calls it
  // The last so many tensors and attributes are a group: a call brings one or more groups, one after another.
  int groupTensors = 0, groupAttributes = 0;

  const TensorParameter& parameter(int index) const {
    return *(tensors.begin() + place(index, static_cast<int>(tensors.size()), groupTensors));
  }
  const char* attributeName(int index) const {
    return *(attributes.begin() + place(index, static_cast<int>(attributes.size()), groupAttributes));
  }
  // How many groups a call with so many tensors and attributes brings; 0: there is no such call.
  int groups(int64_t tensorCount, int64_t attributeCount) const {
    const int64_t moreTensors = tensorCount - static_cast<int64_t>(tensors.size()),
                  moreAttributes = attributeCount - static_cast<int64_t>(attributes.size());
    const int64_t more = groupTensors > 0 ? moreTensors / groupTensors : 0;
    const bool whole = more >= 0 && moreTensors == more * groupTensors && moreAttributes == more * groupAttributes;
    return whole ? static_cast<int>(more) + 1 : 0;
  }

 private:
  static int place(int index, int count, int group) { return index < count ? index : count - group + (index - count) % group; }
};

struct Call {
  const Op* op = nullptr;
  const Tensor* tensors = nullptr;
  const double* attributes = nullptr;
  Parallel* parallel = nullptr;  // null while checking
  Scratch* scratchMemory = nullptr;
  Collective* const* collectives = nullptr;  // the device's communicators, by number
  // Of an accelerator; null on the CPU. `scratch` gives its memory, and `parallel` is the host's all the same.
  void* stream = nullptr;
  Failure* failure = nullptr;
  int32_t* failureCount = nullptr;
  int groups = 1;         // of tensors and attributes, where the operation takes several
  bool captured = false;  // into a graph: the ranks of a collective meet once for all of the graph, and not here

  const Tensor& operator[](int index) const { return tensors[index]; }
  double attribute(int index) const { return attributes[index]; }
  // Where tensor or attribute `index` of the contract's is in group `group`.
  int tensorOf(int group, int index) const { return index + group * op->groupTensors; }
  int attributeOf(int group, int index) const { return index + group * op->groupAttributes; }
  Collective& collective(int number) const { return *collectives[number]; }
  std::string name(int index) const {
    const int first = static_cast<int>(op->tensors.size()) - op->groupTensors;
    std::string text = op->parameter(index).name;
    if (groups == 1 || index < first) return text;
    text += '[';
    text += std::to_string((index - first) / op->groupTensors);
    text += ']';
    return text;
  }

  template <class Body>
  void parallelFor(int64_t count, Body&& body) const {
    parallel->run(
        count, [](void* state, int64_t task, int worker) { (*static_cast<std::remove_reference_t<Body>*>(state))(task, worker); },
        &body);
  }
  template <class T>
  T* scratch(int64_t count) const {
    return static_cast<T*>(scratchMemory->reserve(count * static_cast<int64_t>(sizeof(T))));
  }

  // --- for checks -----------------------------------------------------------------------------------------------
  [[noreturn]] void fail(int index, const std::string& expected, const std::string& received) const {
    throw Error(std::string(op->name) + ": Expected '" + name(index) + "' to " + expected + " but received " + received);
  }
  void expectRank(int index, int rank) const {
    if (tensors[index].rank != rank) fail(index, "have rank " + std::to_string(rank), "shape " + shapeText(tensors[index]));
  }
  void expectShape(int index, std::initializer_list<int64_t> shape) const {
    const Tensor& tensor = tensors[index];
    bool equal = tensor.rank == static_cast<int>(shape.size());
    for (int axis = 0; equal && axis < tensor.rank; ++axis) equal = tensor.shape[axis] == shape.begin()[axis];
    if (equal) return;
    std::string text;
    for (int64_t size : shape) text += (text.empty() ? "[" : ", ") + std::to_string(size);
    fail(index, "have shape " + (text.empty() ? "[" : text) + "]", shapeText(tensor));
  }
  void expectSameShape(int index, int other) const {
    const Tensor &a = tensors[index], &b = tensors[other];
    bool equal = a.rank == b.rank;
    for (int axis = 0; equal && axis < a.rank; ++axis) equal = a.shape[axis] == b.shape[axis];
    if (!equal) fail(index, std::string("have the shape of '") + name(other) + "', " + shapeText(b), shapeText(a));
  }
  void expectDType(int index, std::initializer_list<DType> dtypes) const {
    for (DType dtype : dtypes)
      if (tensors[index].dtype == dtype) return;
    std::string text;
    for (DType dtype : dtypes) text += (text.empty() ? "" : " or ") + std::string(dtypeName(dtype));
    fail(index, "be " + text, dtypeName(tensors[index].dtype));
  }
  void expectSameDType(int index, int other) const {
    if (tensors[index].dtype != tensors[other].dtype)
      fail(index, std::string("have the dtype of '") + name(other) + "', " + dtypeName(tensors[other].dtype),
           dtypeName(tensors[index].dtype));
  }
  void expectFloat(int index) const { expectDType(index, {DType::F32, DType::BF16}); }
  void expectContiguous(int index) const {
    if (!tensors[index].contiguous()) fail(index, "be contiguous", "rows " + std::to_string(tensors[index].rowStride) + " apart");
  }
};

using Kernel = void (*)(const Call&);

// A library that a back end looks for when it runs.
struct FoundLibrary {
  std::string title, path, problem;  // path: empty where it was not found; then problem says how to get it
};

// The entry point of a back-end plug-in, `extern "C" const cd::Backend* compress_distill_backend()`.
struct Backend {
  const char* name;       // "avx2", "avx512", "avx512bf16", "cuda", …
  const Kernel* kernels;  // in the order of kernels/ops.def; null where the back end has none
  int kernelCount;
  // Opens accelerator number `index`; throws Error with the remedy. Null: the kernels work in the host's memory.
  Accelerator* (*open)(int index) = nullptr;
  std::vector<FoundLibrary> (*libraries)() = nullptr;  // null: it needs none
};

}  // namespace cd

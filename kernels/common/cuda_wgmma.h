// Products of warpgroups (wgmma, sm_90a): four warps, 128 threads from a multiple of 128 on, multiply a left operand [64, 16] by
// a right one [16, N] and add to sums [64, N] in registers, asynchronously. bf16 into f32. PTX under nvcc, the same by hand in
// emulation.
//
//   fenceProducts();                                      // registers and shared memory are ready
//   for (k …) warpgroupMma<N, …>(sums, left, right, k > 0);   // issued
//   commitProducts();  waitProducts<0>();                 // sums may be read, operands written over
//
// Sums are laid out as in mma (cuda_mma.h): with warp counted in the warpgroup, sums[j][i] of a thread is row
// 16·warp + lane / 4 + 8·(i / 2), column 8·j + 2·(lane % 4) + i % 2. A left operand in registers is an A fragment of mma for the
// warp's rows.
//
// Operands in shared memory are swizzled tiles (cuda_tma.h), 64 elements to a row of 128 bytes, that a descriptor names:
//   K-major, [rows of M or N][64 of K]: alongK(tile, k), k a multiple of 16;
//   M- or N-major ("transposed"), [rows of K][64 of M or N], further columns in tiles `panel` bytes apart: acrossK(tile, k,
//   panel).
#pragma once

#include "cuda_mma.h"
#include "cuda_tma.h"

namespace cd::cuda {

constexpr int kWarpgroup = 128;  // threads

// --- descriptors: address, leading and stride offset in units of 16 bytes, and the swizzle of 128 bytes -----------------------
__device__ __forceinline__ uint64_t operandDescriptor(const void* address, int leadingBytes, int strideBytes) {
#if defined(CD_EMULATE)
  const uint64_t start = static_cast<uint64_t>(emulation::current->sharedOffset(address, 16));
#else
  const uint64_t start = sharedAddress(address);
#endif
  return (start & 0x3ffff) >> 4 | static_cast<uint64_t>(leadingBytes >> 4) << 16 | static_cast<uint64_t>(strideBytes >> 4) << 32 |
         uint64_t{1} << 62;
}

// Eight rows are 1024 bytes; 16 of K are 32 bytes of a row.
__device__ __forceinline__ uint64_t alongK(const void* tile, int k) {
  return operandDescriptor(static_cast<const char*>(tile) + 2 * k, 16, 8 * kSwizzleRow);
}
// 16 of K are 16 rows; the next 64 columns lie `panel` bytes on.
__device__ __forceinline__ uint64_t acrossK(const void* tile, int k, int panel) {
  return operandDescriptor(static_cast<const char*>(tile) + k * kSwizzleRow, panel, 8 * kSwizzleRow);
}

// The operand that lies `bytes` further on. (Sums with constants need no registers; descriptors made anew would.)
__device__ __forceinline__ uint64_t advanced(uint64_t descriptor, int bytes) { return descriptor + (bytes >> 4); }

enum class Operand { AlongK, AcrossK };

#if defined(CD_EMULATE)
namespace emulated {

// Element (n of M or N, k) of an operand in shared memory.
inline float operandElement(uint64_t descriptor, bool transposed, int n, int k) {
  const int64_t start = (descriptor & 0x3fff) << 4, leading = (descriptor >> 16 & 0x3fff) << 4,
                stride = (descriptor >> 32 & 0x3fff) << 4;
  int64_t byte = start + (transposed ? n / 64 * leading + k / 8 * stride + k % 8 * kSwizzleRow + n % 64 * 2
                                     : n / 8 * stride + n % 8 * kSwizzleRow + k * 2);
  byte ^= (byte >> 7 & 7) << 4;
  return toFloat(*static_cast<const BFloat16*>(emulation::current->sharedAt(byte)));
}

// One product for the 16 rows of a warp. Exact products, summed in f32 from k = 0 on.
inline void multiplyWarp(const emulation::Product* const* lanes, int warp) {
  const emulation::Product& any = *lanes[0];
  float left[16][16];
  for (int row = 0; row < 16; ++row)
    for (int k = 0; k < 16; ++k)
      left[row][k] = any.leftInRegisters ? element(lanes[row % 8 * 4 + k % 8 / 2]->registers[row / 8 + k / 8 * 2], k % 2)
                                         : operandElement(any.left, any.leftTransposed, 16 * warp + row, k);
  for (int column = 0; column < any.columns; ++column) {
    float right[16];
    for (int k = 0; k < 16; ++k) right[k] = operandElement(any.right, any.rightTransposed, column, k);
    for (int row = 0; row < 16; ++row) {
      float sum = 0;
      for (int k = 0; k < 16; ++k) sum += left[row][k] * right[k];
      const emulation::Product& product = *lanes[row % 8 * 4 + column % 8 / 2];
      float& result = product.sums[column / 8 * 4 + row / 8 * 2 + column % 2];
      result = (product.accumulate ? result : 0) + sum;
    }
  }
}

// What a warp's lanes have issued, but for the last `groupsLeft` groups. Sums are taken back from where issueProduct put them;
// those of products that nobody has waited for are put there again.
struct PendingProducts {
  int groupsLeft;
  bool waitedFor;
  emulation::Thread* thread = emulation::current;
};
inline void performProducts(PendingProducts** lanes) {
  const size_t count = lanes[0]->thread->productsBefore(lanes[0]->groupsLeft);
  for (int lane = 0; lane < 32; ++lane) lanes[lane]->thread->restoreSums();
  for (size_t i = 0; i < count; ++i) {
    const emulation::Product* all[32];
    for (int lane = 0; lane < 32; ++lane) {
      std::vector<emulation::Product>& products = lanes[lane]->thread->products;
      const emulation::Product& first = lanes[0]->thread->products[i];
      if (i >= products.size() || products[i].columns != first.columns || products[i].left != first.left ||
          products[i].right != first.right)
        emulation::current->fail("lanes of a warp have issued different products");
      all[lane] = &products[i];
    }
    if (all[0]->columns > 0 && !all[0]->done) multiplyWarp(all, lanes[0]->thread->warp() % 4);
    for (int lane = 0; lane < 32; ++lane) lanes[lane]->thread->products[i].done = true;
  }
  for (int lane = 0; lane < 32; ++lane) lanes[lane]->thread->dropProducts(lanes[lane]->waitedFor ? count : 0);
}

}  // namespace emulated
#else
// "%0, %1, …" of as many sums as a thread has of 64, 128 and 256 columns, and the operands themselves.
#define CD_SUMS_32                                                       \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15" \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define CD_SUMS_64                                                                   \
  CD_SUMS_32                                                                         \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47" \
  ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define CD_SUMS_128                                                                              \
  CD_SUMS_64                                                                                     \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79"             \
  ", %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"             \
  ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111" \
  ", %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define CD_SUM(j) "+f"(sums[j][0]), "+f"(sums[j][1]), "+f"(sums[j][2]), "+f"(sums[j][3])
#define CD_SUM8(j) \
  CD_SUM(j), CD_SUM(j + 1), CD_SUM(j + 2), CD_SUM(j + 3), CD_SUM(j + 4), CD_SUM(j + 5), CD_SUM(j + 6), CD_SUM(j + 7)
#define CD_OPERANDS_32 CD_SUM8(0)
#define CD_OPERANDS_64 CD_OPERANDS_32, CD_SUM8(8)
#define CD_OPERANDS_128 CD_OPERANDS_64, CD_SUM8(16), CD_SUM8(24)

// The numbers are those of the operands after the sums, in their order.
#define CD_PRODUCT_SHARED(columns, count, left, right, add, leftTransposed, rightTransposed)            \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #add                                            \
               ", 0;\n"                                                                                 \
               "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" CD_SUMS_##count       \
               "}, %" #left ", %" #right ", add, 1, 1, %" #leftTransposed ", %" #rightTransposed ";\n}" \
               : CD_OPERANDS_##count                                                                    \
               : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kLeftTransposed), "n"(kRightTransposed))
#define CD_PRODUCT_REGISTERS(columns, count, a0, a1, a2, a3, right, add, rightTransposed)                       \
  asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #add                                                    \
               ", 0;\n"                                                                                         \
               "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" CD_SUMS_##count               \
               "}, {%" #a0 ", %" #a1 ", %" #a2 ", %" #a3 "}, %" #right ", add, 1, 1, %" #rightTransposed ";\n}" \
               : CD_OPERANDS_##count                                                                            \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kRightTransposed))
#endif

// sums [64, kColumns] (+)= left · right, both in shared memory. By all threads of the warpgroup, with the same descriptors.
template <int kColumns, Operand kLeft, Operand kRight>
__device__ __forceinline__ void warpgroupMma(float (&sums)[kColumns / 8][4], uint64_t a, uint64_t b, bool accumulate) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256);
  constexpr bool kLeftTransposed = kLeft == Operand::AcrossK, kRightTransposed = kRight == Operand::AcrossK;
#if defined(CD_EMULATE)
  emulation::current->issueProduct({&sums[0][0], kColumns, accumulate, false, kLeftTransposed, kRightTransposed, {}, a, b});
#else
  if constexpr (kColumns == 64) CD_PRODUCT_SHARED(64, 32, 32, 33, 34, 35, 36);
  else if constexpr (kColumns == 128) CD_PRODUCT_SHARED(128, 64, 64, 65, 66, 67, 68);
  else CD_PRODUCT_SHARED(256, 128, 128, 129, 130, 131, 132);
#endif
}

// The same with the left operand in registers, which must hold until the product was waited for.
template <int kColumns, Operand kRight>
__device__ __forceinline__ void warpgroupMma(float (&sums)[kColumns / 8][4], const uint32_t (&a)[4], uint64_t b,
                                             bool accumulate) {
  static_assert(kColumns == 64 || kColumns == 128 || kColumns == 256);
  constexpr bool kRightTransposed = kRight == Operand::AcrossK;
#if defined(CD_EMULATE)
  emulation::current->issueProduct(
      {&sums[0][0], kColumns, accumulate, true, false, kRightTransposed, {a[0], a[1], a[2], a[3]}, 0, b});
#else
  if constexpr (kColumns == 64) CD_PRODUCT_REGISTERS(64, 32, 32, 33, 34, 35, 36, 37, 38);
  else if constexpr (kColumns == 128) CD_PRODUCT_REGISTERS(128, 64, 64, 65, 66, 67, 68, 69, 70);
  else CD_PRODUCT_REGISTERS(256, 128, 128, 129, 130, 131, 132, 133, 134);
#endif
}

// Before the first product, and whenever its registers were touched by other instructions.
__device__ __forceinline__ void fenceProducts() {
#if !defined(CD_EMULATE)
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

// Ends a group of products.
#if defined(CD_EMULATE)
inline void commitProducts(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulation::current->products.push_back({});
  emulated::PendingProducts mine{0, false};
  if (emulation::current->eager()) emulation::meet(kAllLanes, mine, emulated::performProducts, "commitProducts", {file, line});
}
#else
__device__ __forceinline__ void commitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
#endif

// Waits until all but the last `Left` groups are done.
#if defined(CD_EMULATE)
template <int Left>
inline void waitProducts(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  emulation::current->letOthersRun("waitProducts", {file, line});
  emulated::PendingProducts mine{Left, true};
  emulation::meet(kAllLanes, mine, emulated::performProducts, "waitProducts", {file, line});
}
#else
template <int Left>
__device__ __forceinline__ void waitProducts() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Left) : "memory");
}
#endif

// The compiler must not move reads or writes of these registers across this place.
template <int kParts>
__device__ __forceinline__ void holdRegisters(float (&sums)[kParts][4]) {
#if !defined(CD_EMULATE)
#pragma unroll
  for (int j = 0; j < kParts; ++j)
    asm volatile("" : "+f"(sums[j][0]), "+f"(sums[j][1]), "+f"(sums[j][2]), "+f"(sums[j][3])::"memory");
#else
  static_cast<void>(sums);
#endif
}

// Registers of a thread, from now on: a producer gives some up, which consumers take. By all warps of a warpgroup; needs
// __launch_bounds__(threads, 1).
template <int kCount>
__device__ __forceinline__ void giveRegisters() {
#if !defined(CD_EMULATE)
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}
template <int kCount>
__device__ __forceinline__ void takeRegisters() {
#if !defined(CD_EMULATE)
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

}  // namespace cd::cuda

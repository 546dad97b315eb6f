// Runs CUDA kernels on the host: every CUDA thread is a fiber, a block's threads take turns on one host thread.
//
// Threads run greedily: a lane runs until it has to wait for others, a warp until all its lanes wait, then the next warp has its
// turn. So a missing barrier shows: whoever is first runs far ahead of the others. Warps and lanes take turns in the order that
// the environment variable COMPRESS_DISTILL_EMULATION_ORDER names: forward (default), reverse, or seed:N, another order every
// turn.
//
// There is one way to wait: until a word in memory has changed (Thread::waitWhile). Barriers, warp operations and whatever comes
// later are built of it. When nobody can go on, the launch fails and says who waits where.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "../../native/kernel.h"

namespace cd::emulation {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr Dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  int64_t count() const { return int64_t{1} * x * y * z; }
};

constexpr int kWarpSize = 32;
constexpr uint8_t kPoison = 0xff;  // of memory with undefined contents: NaN as f32 and bf16, −1 as an integer

// A place in a kernel's source.
struct Place {
  const char* file = nullptr;
  int line = 0;
};

class Block;
class Transactions;

// A product of a warpgroup (cuda_wgmma.h) that has been issued and not waited for, as one of its threads sees it. No columns: the
// end of a group.
struct Product {
  float* sums;
  int columns;
  bool accumulate, leftInRegisters, leftTransposed, rightTransposed;
  uint32_t registers[4];  // the left operand, or …
  uint64_t left, right;   // … descriptors
  bool done = false;
};

// One CUDA thread.
struct Thread {
  Block* block;
  Dim3 index;
  int number;  // in the block
  bool done;

  // What it waits for, null when it can run: *word to differ from value.
  const uint32_t* word;
  uint32_t value;
  const char* what;
  Place where;

  void* stackPointer;
  char* stack;
  void* fakeStack;  // AddressSanitizer's

  // An asynchronous copy that its thread has not waited for yet; a null target ends a group.
  struct Copy {
    void* target;
    const void* source;
    int bytes, valid;
  };
  std::vector<Copy> copies;
  // Asynchronous stores of whole tiles; an empty one ends a group.
  std::vector<std::function<void()>> stores;
  std::vector<Product> products;
  struct Sums {
    float* place;
    std::vector<float> values;
  };
  std::vector<Sums> sums;  // of those products

  int lane() const { return number % kWarpSize; }
  int warp() const { return number / kWarpSize; }
  bool runnable() const { return !done && (!word || *word != value); }

  void waitWhile(const uint32_t* word, uint32_t value, const char* what, Place where);
  // Waits until no other thread can go on; patiently: until no copy is under way either, and nobody waits for products.
  void letOthersRun(const char* what, Place where, bool patiently = false);
  // Whether what this block starts asynchronously is done as soon as it can be, and not as late: one shows operands that are not
  // there yet, the other ones that are written over.
  bool eager() const;
  [[noreturn]] void fail(const std::string& what, Place where = {}) const;

  // Meets the other lanes of `mask` with `arguments`; the last one to come runs complete(state, arguments of all lanes).
  void meetWarp(uint32_t mask, void* arguments, void (*complete)(void** lanes, void* state), void* state, const char* what,
                Place where);
  // Meets `count` threads of the block at barrier `id`. Returns how many of them brought a true `vote`.
  int meetBlock(int id, int count, bool vote, const char* what, Place where);
  // One of those threads, which does not wait.
  void arriveBlock(int id, int count, const char* what, Place where);

  // Shared memory: the block's dynamic part, and variables by key.
  void* dynamicShared(size_t bytes, Place where) const;
  void* sharedVariable(const void* key, int line, size_t bytes, size_t alignment) const;

  // Where in dynamic shared memory `bytes` from this address on lie, and back.
  int64_t sharedOffset(const void* address, int64_t bytes) const;
  void* sharedAt(int64_t offset) const;
  Transactions& transactions() const;

  void copyLater(void* target, const void* source, int bytes, int valid);
  void endCopyGroup();
  void waitForCopies(int groupsLeft);
  void commitStores();
  void waitForStores(int groupsLeft);

  // Until a product was waited for its sums are not there: NaN. What they were before is kept aside, taken back by restoreSums
  // and put aside again by dropProducts where products are left. productsBefore counts those that a wait covers.
  void issueProduct(const Product& product);
  size_t productsBefore(int groupsLeft) const;
  void restoreSums();
  void dropProducts(size_t count);
  void hideSums(const Product& product);
};

// The thread that runs now; null outside kernels.
extern thread_local constinit Thread* current;
// The grid that runs now.
extern thread_local constinit Dim3 gridSize, blockSize, blockPlace;

struct Launch {
  const char* op;
  Place where;
  Dim3 grid, block;
  int sharedBytes;
};

// What a stream does, kept to be done again; while a thread captures, its launches, copies and fills go there and are not run.
using Graph = std::vector<std::function<void()>>;
extern thread_local constinit Graph* capturing;

// One thing that a stream does: now, or when the graph is launched.
template <class Work>
inline void onStream(Work work) {
  if (capturing) capturing->push_back(std::move(work));
  else work();
}

// Runs body(state) as every thread of the grid, one block after another. Throws Error.
void runGrid(const Launch& launch, void (*body)(void* state), void* state);

}  // namespace cd::emulation

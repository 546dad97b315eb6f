#include "cuda_fibers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <new>
#include <numeric>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#include "cuda_fiber_switch.h"
#include "cuda_meetings.h"
#include "cuda_order.h"
#include "cuda_transactions.h"

namespace cd::emulation {

thread_local constinit Thread* current = nullptr;
thread_local constinit Dim3 gridSize, blockSize, blockPlace;
thread_local constinit Graph* capturing = nullptr;

namespace {
constexpr int kMaxThreads = 1024;
constexpr int kMaxShared = 227 * 1024;  // of one block on sm_90
constexpr int kBarriers = 16;
constexpr std::align_val_t kSharedAlignment{1024};  // what the swizzle of 128 bytes asks for
#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 256 << 10;
#else
constexpr size_t kStackBytes = 128 << 10;
#endif

std::string text(Place place) {
  if (!place.file) return "";
  const char* name = std::strrchr(place.file, '/');
  return " (" + std::string(name ? name + 1 : place.file) + ":" + std::to_string(place.line) + ")";
}
std::string text(Dim3 index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " + std::to_string(index.z) + ")";
}

// Stacks of all threads of a block, each above a page that must not be touched. Memory is used as it is written.
class Stacks {
 public:
  Stacks() {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    memory_ = static_cast<char*>(
        mmap(nullptr, kMaxThreads * kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory_ == MAP_FAILED) throw Error("the system has no memory left for the stacks of emulated threads");
    for (int number = 0; number < kMaxThreads; ++number) mprotect(of(number), page, PROT_NONE);
  }
  ~Stacks() { munmap(memory_, kMaxThreads * kStackBytes); }
  char* of(int number) const { return memory_ + number * kStackBytes; }

 private:
  char* memory_;
};

struct SharedVariable {
  const void* key;
  int line;
  size_t bytes;
  void* memory;
};
}  // namespace

// The block that runs now, and what its threads share. Kept from block to block of one launch.
class Block {
 public:
  Block(const Launch& launch, void (*body)(void*), void* state, const Stacks& stacks)
      : launch(launch), threadCount(static_cast<int>(launch.block.count())), body_(body), state_(state) {
    threads.resize(threadCount);
    lanes.resize((threadCount + kWarpSize - 1) / kWarpSize * kWarpSize);
    warps.resize(lanes.size() / kWarpSize);
    places_.resize(warps.size());
    for (int number = 0; number < threadCount; ++number) {
      Thread& thread = threads[number];
      thread.block = this;
      thread.number = number;
      thread.stack = stacks.of(number);
      const unsigned n = static_cast<unsigned>(number);
      thread.index = {n % launch.block.x, n / launch.block.x % launch.block.y, n / launch.block.x / launch.block.y};
    }
    // Exactly as much as was asked for, so that AddressSanitizer sees what lies beyond.
    if (launch.sharedBytes > 0) dynamic_ = ::operator new(static_cast<size_t>(launch.sharedBytes), kSharedAlignment);
  }
  ~Block() {
    if (dynamic_) ::operator delete(dynamic_, kSharedAlignment);
    for (const SharedVariable& variable : variables_) ::operator delete(variable.memory, std::align_val_t(128));
  }
  Block(const Block&) = delete;

  void run(Order& order) {
    if (dynamic_) std::memset(dynamic_, kPoison, launch.sharedBytes);
    for (const SharedVariable& variable : variables_) std::memset(variable.memory, kPoison, variable.bytes);
    std::fill(lanes.begin(), lanes.end(), Lane{});
    std::fill(warps.begin(), warps.end(), Warp{});
    std::fill(barriers, barriers + kBarriers, Barrier{});
    transactions.clear();
    for (Thread& thread : threads) prepare(thread);
    running_ = threadCount;
    eager = order.pick(2) == 1;
    while (running_ > 0) {
      bool progress = false;
      order.arrange(places_.data(), static_cast<int64_t>(places_.size()));
      for (int warp : places_) progress |= runWarp(warp, order);
      // What is asynchronous comes as late as it can; copies before products, or after.
      if (progress || (order.pick(2) == 0 && transactions.deliver(order)) || wake(late[0]) || transactions.deliver(order) ||
          wake(late[1]))
        continue;
      failDeadlock();
    }
  }

  void yield(Thread& thread) {
    current = nullptr;
    switchFiber(&thread.stackPointer, mainPointer_, &thread.fakeStack, mainStack_, mainBytes_);
    arrived(thread.fakeStack);
  }

  Barrier& barrier(const Thread& thread, int id, int count, const char* name, Place place) {
    if (id < 0 || id >= kBarriers) thread.fail(std::string(name) + " with barrier " + std::to_string(id) + " of 16", place);
    Barrier& barrier = barriers[id];
    if (barrier.arrived == 0) barrier.count = count;
    else if (barrier.count != count)
      thread.fail(std::string(name) + text(place) + " of " + std::to_string(count) + " threads meets a barrier of " +
                      std::to_string(barrier.count),
                  barrier.where);
    return barrier;
  }

  void* dynamicShared(size_t bytes) const { return bytes <= static_cast<size_t>(launch.sharedBytes) ? dynamic_ : nullptr; }
  std::ptrdiff_t sharedOffset(const void* address) const {
    return dynamic_ ? static_cast<const char*>(address) - static_cast<const char*>(dynamic_) : -1;
  }

  void* variable(const void* key, int line, size_t bytes, size_t alignment) {
    for (const SharedVariable& variable : variables_)
      if (variable.key == key && variable.line == line) return variable.memory;
    if (alignment > 128) throw Error("shared variables are aligned to 128 bytes at most");
    void* memory = ::operator new(bytes, std::align_val_t(128));
    std::memset(memory, kPoison, bytes);
    variables_.push_back({key, line, bytes, memory});
    return memory;
  }

  const Launch& launch;
  const int threadCount;
  std::vector<Thread> threads;
  std::vector<Lane> lanes;
  std::vector<Warp> warps;
  Barrier barriers[kBarriers];
  Transactions transactions;
  uint32_t late[2] = {};  // change when nobody else can go on; the second one when nothing else comes either
  bool eager = false;

 private:
  static void switchFiber(void** saved, void* next, [[maybe_unused]] void** fakeStack, [[maybe_unused]] const void* stack,
                          [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fakeStack, stack, bytes);
#endif
    cdSwitchFiber(saved, next);
  }
  // Runs first thing on a fiber that was switched to.
  void arrived([[maybe_unused]] void* fakeStack) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fakeStack, &mainStack_, &mainBytes_);
#endif
  }

  static void enter() {
    Thread& thread = *current;
    Block& block = *thread.block;
    block.arrived(nullptr);
    try {
      block.body_(block.state_);
      if (!thread.products.empty()) thread.fail("returns before its products were waited for");
      if (!thread.stores.empty()) thread.fail("returns while its stores still read shared memory");
    } catch (...) {
      block.failure_ = std::current_exception();
    }
    thread.done = true;
    block.warps[thread.warp()].returned |= 1u << thread.lane();
    --block.running_;
    current = nullptr;
    void* nowhere;
    switchFiber(&nowhere, block.mainPointer_, nullptr, block.mainStack_, block.mainBytes_);
    std::abort();
  }

  void prepare(Thread& thread) const {
    thread.done = false;
    thread.word = nullptr;
    thread.fakeStack = nullptr;
    thread.copies.clear();
    thread.stores.clear();
    thread.products.clear();
    thread.sums.clear();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(thread.stack, kStackBytes);
#endif
    void** top = reinterpret_cast<void**>(thread.stack + kStackBytes);
#if defined(__x86_64__)
    *--top = nullptr;  // where `enter` would return to; leaves its stack aligned as a call does
    *--top = reinterpret_cast<void*>(&Block::enter);
    top -= 6;
    std::memset(top, 0, 6 * sizeof(void*));
#else
    top -= 20;
    std::memset(top, 0, 20 * sizeof(void*));
    top[11] = reinterpret_cast<void*>(&Block::enter);
#endif
    thread.stackPointer = top;
  }

  bool runWarp(int warp, Order& order) {
    const int first = warp * kWarpSize, count = std::min(kWarpSize, threadCount - first);
    uint8_t places[kWarpSize];
    order.arrange(places, count);
    bool progress = false;
    for (bool ran = true; ran; progress |= ran) {
      ran = false;
      for (int place = 0; place < count; ++place) {
        Thread& thread = threads[first + places[place]];
        if (!thread.runnable()) continue;
        ran = true;
        thread.word = nullptr;
        current = &thread;
        [[maybe_unused]] void* fakeStack = nullptr;
        switchFiber(&mainPointer_, thread.stackPointer, &fakeStack, thread.stack, kStackBytes);
#if defined(__SANITIZE_ADDRESS__)
        __sanitizer_finish_switch_fiber(fakeStack, nullptr, nullptr);
#endif
        if (failure_) std::rethrow_exception(failure_);
      }
    }
    return progress;
  }

  bool wake(uint32_t& word) {
    ++word;
    return std::any_of(threads.begin(), threads.end(), [](const Thread& thread) { return thread.runnable(); });
  }

  [[noreturn]] void failDeadlock() const {
    std::map<std::string, int> waiting;
    for (const Thread& thread : threads)
      waiting[thread.done ? "have returned" : "wait at " + std::string(thread.what) + text(thread.where)]++;
    std::string list;
    for (const auto& [what, count] : waiting) list += (list.empty() ? "" : ", ") + std::to_string(count) + " " + what;
    threads[0].fail("no thread can go on: of " + std::to_string(threadCount) + " threads " + list + transactions.unfinished());
  }

  void (*body_)(void*);
  void* state_;
  int running_ = 0;
  std::exception_ptr failure_;
  std::vector<int> places_;  // of the warps, in the order of this turn
  void* dynamic_ = nullptr;
  std::vector<SharedVariable> variables_;
  void* mainPointer_ = nullptr;
  const void* mainStack_ = nullptr;
  size_t mainBytes_ = 0;
};

void Thread::fail(const std::string& problem, Place place) const {
  const Launch& launch = block->launch;
  throw Error("the kernel launched by " + std::string(launch.op) + text(launch.where) + ", block " + text(blockPlace) +
              ", thread " + text(index) + ": " + problem + text(place));
}

void Thread::waitWhile(const uint32_t* watched, uint32_t unwanted, const char* reason, Place place) {
  if (*watched != unwanted) return;
  word = watched;
  value = unwanted;
  what = reason;
  where = place;
  block->yield(*this);
}

void Thread::letOthersRun(const char* reason, Place place, bool patiently) {
  waitWhile(&block->late[patiently], block->late[patiently], reason, place);
}

bool Thread::eager() const { return block->eager; }

void Thread::meetWarp(uint32_t mask, void* arguments, void (*complete)(void**, void*), void* state, const char* name,
                      Place place) {
  const int first = warp() * kWarpSize;
  const int present = std::min(kWarpSize, block->threadCount - first);
  if (!(mask >> lane() & 1)) fail(std::string(name) + " with a mask that leaves out its own lane", place);
  if (present < kWarpSize && mask >> present) fail(std::string(name) + " with a mask that names lanes that do not exist", place);
  Lane* lanes = block->lanes.data() + first;
  Warp& own = block->warps[warp()];
  Lane& mine = lanes[lane()];
  mine.mask = mask;
  mine.arguments = arguments;
  what = name;
  where = place;
  own.waiting |= 1u << lane();
  if (const uint32_t missing = mask & own.returned)
    fail(std::string(name) + " waits for lane " + std::to_string(std::countr_zero(missing)) + ", which has returned", place);
  if ((own.waiting & mask) != mask) return waitWhile(&mine.generation, mine.generation, name, place);
  void* all[kWarpSize] = {};
  for (uint32_t rest = mask; rest; rest &= rest - 1) {
    const int other = std::countr_zero(rest);
    const Thread& thread = block->threads[first + other];
    if (lanes[other].mask != mask || thread.where.line != place.line ||
        (thread.what != name && std::strcmp(thread.what, name) != 0))
      fail(std::string(name) + text(place) + " meets lane " + std::to_string(other) + " at " + thread.what + text(thread.where));
    all[other] = lanes[other].arguments;
  }
  complete(all, state);
  own.waiting &= ~mask;
  for (uint32_t rest = mask; rest; rest &= rest - 1) ++lanes[std::countr_zero(rest)].generation;
}

int Thread::meetBlock(int id, int count, bool vote, const char* name, Place place) {
  if (count <= 0) count = block->threadCount;
  Barrier& barrier = block->barrier(*this, id, count, name, place);
  if (!barrier.where.file) barrier.where = place;
  if (barrier.where.line != place.line || (barrier.where.file != place.file && std::strcmp(barrier.where.file, place.file) != 0))
    fail(std::string(name) + text(place) + " meets threads that wait at another barrier", barrier.where);
  barrier.votes += vote;
  if (!barrier.arrive()) waitWhile(&barrier.generation, barrier.generation, name, place);
  return barrier.lastVotes;
}

void Thread::arriveBlock(int id, int count, const char* name, Place place) {
  block->barrier(*this, id, count, name, place).arrive();
}

void* Thread::dynamicShared(size_t bytes, Place place) const {
  void* memory = block->dynamicShared(bytes);
  if (!memory)
    fail("uses " + std::to_string(bytes) + " bytes of shared memory but was launched with " +
             std::to_string(block->launch.sharedBytes),
         place);
  return memory;
}

int64_t Thread::sharedOffset(const void* address, int64_t bytes) const {
  const std::ptrdiff_t offset = block->sharedOffset(address);
  if (offset < 0 || offset + bytes > block->launch.sharedBytes) fail("an address outside of the dynamic shared memory");
  return offset;
}

void* Thread::sharedAt(int64_t offset) const {
  if (offset < 0 || offset >= block->launch.sharedBytes)
    fail("byte " + std::to_string(offset) + " of " + std::to_string(block->launch.sharedBytes) + " of shared memory");
  return static_cast<char*>(block->dynamicShared(0)) + offset;
}

Transactions& Thread::transactions() const { return block->transactions; }

void* Thread::sharedVariable(const void* key, int line, size_t bytes, size_t alignment) const {
  return block->variable(key, line, bytes, alignment);
}

std::atomic<int64_t> launches{0};  // of all threads: see cuda_runtime_emulated.h

void runGrid(const Launch& launch, void (*body)(void*), void* state) {
  const auto refuse = [&](const std::string& problem) {
    throw Error("the kernel launched by " + std::string(launch.op) + text(launch.where) + ": " + problem);
  };
  if (launch.grid.x > 2147483647u || launch.grid.y > 65535 || launch.grid.z > 65535)
    refuse("the grid " + text(launch.grid) + " is too large");
  const int64_t threads = launch.block.count();
  if (threads < 1 || threads > kMaxThreads || launch.block.z > 64) refuse("a block of " + text(launch.block) + " threads");
  if (launch.sharedBytes < 0 || launch.sharedBytes > kMaxShared)
    refuse(std::to_string(launch.sharedBytes) + " bytes of shared memory");

  ++launches;
  thread_local Stacks stacks;
  Order order;
  Block block(launch, body, state, stacks);
  gridSize = launch.grid;
  blockSize = launch.block;
  std::vector<int64_t> places(launch.grid.count());
  order.arrange(places.data(), launch.grid.count());
  for (int64_t place : places) {
    const int64_t x = launch.grid.x, y = launch.grid.y;
    blockPlace = {static_cast<unsigned>(place % x), static_cast<unsigned>(place / x % y), static_cast<unsigned>(place / x / y)};
    block.run(order);
  }
  current = nullptr;
}

}  // namespace cd::emulation

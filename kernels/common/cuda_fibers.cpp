#include "cuda_fibers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
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

// void cdSwitchFiber(void** saved, void* next): keeps the callee's registers on this stack, its pointer in *saved, goes on at
// next.
#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl cdSwitchFiber
.hidden cdSwitchFiber
.type cdSwitchFiber, @function
cdSwitchFiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cdSwitchFiber, .-cdSwitchFiber
)");
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.globl cdSwitchFiber
.hidden cdSwitchFiber
.type cdSwitchFiber, %function
cdSwitchFiber:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size cdSwitchFiber, .-cdSwitchFiber
)");
#else
#error "the emulation of CUDA knows x86-64 and aarch64"
#endif
extern "C" void cdSwitchFiber(void** saved, void* next);

namespace cd::emulation {

thread_local constinit Thread* current = nullptr;
thread_local constinit Dim3 gridSize, blockSize, blockPlace;
thread_local constinit Graph* capturing = nullptr;

namespace {
constexpr int kMaxThreads = 1024;
constexpr int kMaxShared = 227 * 1024;  // of one block on sm_90
constexpr int kBarriers = 16;
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

// The order in which warps, lanes and blocks take turns.
class Order {
 public:
  Order() {
    const char* name = std::getenv("COMPRESS_DISTILL_EMULATION_ORDER");
    if (!name || !std::strcmp(name, "forward")) return;
    if (!std::strcmp(name, "reverse")) reverse_ = true;
    else if (!std::strncmp(name, "seed:", 5)) state_ = 2 * std::strtoull(name + 5, nullptr, 10) + 1;
    else
      throw Error("Expected COMPRESS_DISTILL_EMULATION_ORDER to be forward, reverse or seed:N but received '" +
                  std::string(name) + "'");
  }
  // Puts 0 … count − 1 into `places`.
  template <class Integer>
  void arrange(Integer* places, int64_t count) {
    for (int64_t i = 0; i < count; ++i) places[i] = static_cast<Integer>(reverse_ ? count - 1 - i : i);
    for (int64_t i = state_ ? count - 1 : 0; i > 0; --i) std::swap(places[i], places[draw() % static_cast<uint64_t>(i + 1)]);
  }

 private:
  uint64_t draw() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return state_ >> 33;
  }
  bool reverse_ = false;
  uint64_t state_ = 0;
};

// What a lane has brought to a warp operation.
struct Lane {
  uint32_t mask = 0, generation = 0;
  void* arguments = nullptr;
};
struct Warp {
  uint32_t waiting = 0, returned = 0;  // lanes
};
struct Barrier {
  int arrived = 0, votes = 0, lastVotes = 0, count = 0;
  uint32_t generation = 0;
  Place where;
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
    if (launch.sharedBytes > 0) dynamic_ = ::operator new(static_cast<size_t>(launch.sharedBytes), std::align_val_t(128));
  }
  ~Block() {
    if (dynamic_) ::operator delete(dynamic_, std::align_val_t(128));
    for (const SharedVariable& variable : variables_) ::operator delete(variable.memory, std::align_val_t(128));
  }
  Block(const Block&) = delete;

  void run(Order& order) {
    if (dynamic_) std::memset(dynamic_, kPoison, launch.sharedBytes);
    for (const SharedVariable& variable : variables_) std::memset(variable.memory, kPoison, variable.bytes);
    std::fill(lanes.begin(), lanes.end(), Lane{});
    std::fill(warps.begin(), warps.end(), Warp{});
    std::fill(barriers, barriers + kBarriers, Barrier{});
    for (Thread& thread : threads) prepare(thread);
    running_ = threadCount;
    while (running_ > 0) {
      bool progress = false;
      order.arrange(places_.data(), static_cast<int64_t>(places_.size()));
      for (int warp : places_) progress |= runWarp(warp, order);
      if (!progress) failDeadlock();
    }
  }

  void yield(Thread& thread) {
    current = nullptr;
    switchFiber(&thread.stackPointer, mainPointer_, &thread.fakeStack, mainStack_, mainBytes_);
    arrived(thread.fakeStack);
  }

  void* dynamicShared(size_t bytes) const { return bytes <= static_cast<size_t>(launch.sharedBytes) ? dynamic_ : nullptr; }

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

  [[noreturn]] void failDeadlock() const {
    std::map<std::string, int> waiting;
    for (const Thread& thread : threads)
      waiting[thread.done ? "have returned" : "wait at " + std::string(thread.what) + text(thread.where)]++;
    std::string list;
    for (const auto& [what, count] : waiting) list += (list.empty() ? "" : ", ") + std::to_string(count) + " " + what;
    threads[0].fail("no thread can go on: of " + std::to_string(threadCount) + " threads " + list);
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
  if (id < 0 || id >= kBarriers) fail(std::string(name) + " with barrier " + std::to_string(id) + " of 16", place);
  if (count <= 0) count = block->threadCount;
  Barrier& barrier = block->barriers[id];
  if (barrier.arrived == 0) {
    barrier.where = place;
    barrier.count = count;
  } else if (barrier.where.line != place.line ||
             (barrier.where.file != place.file && std::strcmp(barrier.where.file, place.file) != 0) || barrier.count != count) {
    fail(std::string(name) + text(place) + " meets threads that wait at another barrier", barrier.where);
  }
  barrier.votes += vote;
  if (++barrier.arrived == count) {
    barrier.lastVotes = barrier.votes;
    barrier.arrived = barrier.votes = 0;
    ++barrier.generation;
  } else {
    waitWhile(&barrier.generation, barrier.generation, name, place);
  }
  return barrier.lastVotes;
}

void* Thread::dynamicShared(size_t bytes, Place place) const {
  void* memory = block->dynamicShared(bytes);
  if (!memory)
    fail("uses " + std::to_string(bytes) + " bytes of shared memory but was launched with " +
             std::to_string(block->launch.sharedBytes),
         place);
  return memory;
}

void* Thread::sharedVariable(const void* key, int line, size_t bytes, size_t alignment) const {
  return block->variable(key, line, bytes, alignment);
}

void Thread::copyLater(void* target, const void* source, int bytes, int valid) {
  for (const Copy& copy : copies)
    if (copy.target == target) fail("two asynchronous copies into one place are under way");
  std::memset(target, kPoison, bytes);
  copies.push_back({target, source, bytes, valid});
}

void Thread::endCopyGroup() { copies.push_back({nullptr, nullptr, 0, 0}); }

void Thread::waitForCopies(int groupsLeft) {
  // The end of what must have arrived: after the last group but `groupsLeft`.
  size_t end = copies.size();
  for (int groups = 0; end > 0; --end)
    if (!copies[end - 1].target && groups++ == groupsLeft) break;
  for (size_t i = 0; i < end; ++i) {
    const Copy& copy = copies[i];
    if (!copy.target) continue;
    if (copy.valid > 0) std::memcpy(copy.target, copy.source, copy.valid);
    std::memset(static_cast<char*>(copy.target) + copy.valid, 0, copy.bytes - copy.valid);
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(end));
}

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

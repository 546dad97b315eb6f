// The part of NCCL's C interface that is used, so that building needs no header of it; found when the first group of GPUs meets.
// In emulation a stand-in on the host does the same, so that the code above it is the one that drives GPUs.
#pragma once

#include <climits>

#include "../common/cuda.h"

namespace cd::cuda::nccl {

struct UniqueId {
  char bytes[128];
};
using Communicator = void*;
enum DataType : int { kUint8 = 1, kInt32 = 2, kFloat32 = 7, kBFloat16 = 9 };
constexpr int kSuccess = 0, kInProgress = 7, kSum = 0;

// As of version 2.18; a newer library fills in what came later.
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef, version = 21800;
  int blocking = 0;  // calls return at once and are asked after
  int cgaClusterSize = INT_MIN, minCTAs = INT_MIN, maxCTAs = INT_MIN;
  const char* netName = nullptr;
  int splitShare = INT_MIN;
};

struct Interface {
  int (*getUniqueId)(UniqueId*);
  int (*initRank)(Communicator*, int ranks, UniqueId, int rank, Config*);
  int (*asyncError)(Communicator, int* status);
  int (*finalize)(Communicator);
  int (*destroy)(Communicator);
  int (*abort)(Communicator);
  int (*allReduce)(const void* from, void* to, size_t count, int type, int operation, Communicator, void* stream);
  int (*allGather)(const void* from, void* to, size_t countFrom, int type, Communicator, void* stream);
  int (*reduceScatter)(const void* from, void* to, size_t countTo, int type, int operation, Communicator, void* stream);
  int (*broadcast)(const void* from, void* to, size_t count, int type, int root, Communicator, void* stream);
  const char* (*errorString)(int);

  static const Interface& get();  // throws Error with the remedy where NCCL is not there
};

}  // namespace cd::cuda::nccl

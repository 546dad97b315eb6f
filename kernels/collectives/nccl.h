// The part of NCCL's C interface that is used, so that building needs no header of it; found when the first group of several GPUs
// meets. In emulation a stand-in on the host does the same, so that the code above it is the one that drives GPUs.
#pragma once

#include "../common/cuda.h"

namespace cd::cuda::nccl {

struct UniqueId {
  char bytes[128];
};
using Communicator = void*;
enum DataType : int { kUint8 = 1, kInt32 = 2, kFloat32 = 7, kBFloat16 = 9 };
constexpr int kSuccess = 0, kSum = 0;

struct Interface {
  int (*getUniqueId)(UniqueId*);
  int (*initRank)(Communicator*, int ranks, UniqueId, int rank);
  int (*allReduce)(const void* from, void* to, size_t count, int type, int operation, Communicator, void* stream);
  int (*allGather)(const void* from, void* to, size_t countFrom, int type, Communicator, void* stream);
  int (*reduceScatter)(const void* from, void* to, size_t countTo, int type, int operation, Communicator, void* stream);
  int (*broadcast)(const void* from, void* to, size_t count, int type, int root, Communicator, void* stream);
  const char* (*errorString)(int);

  static const Interface& get();  // throws Error with the remedy where NCCL is not there
};

}  // namespace cd::cuda::nccl

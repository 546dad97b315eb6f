// Kernels with a bug that kernel-check must find: a plug-in of its own, beside the same kernels without the bug.
#pragma once

#include "../native/kernel.h"

namespace cd::check {

struct Planted {
  const char* bug;
  const char* op;
  Kernel sound, broken;
};

// The entry point of the plug-in: `extern "C" const Planted* compress_distill_planted(int* count)`.
using PlantedList = const Planted* (*)(int* count);

}  // namespace cd::check

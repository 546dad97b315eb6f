// What a device's queue holds: an operation, a job of the stream's thread (a copy, a file read, a fence), or a replay.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "storage.h"

namespace cd {

class Recording;

struct Command {
  const Op* op = nullptr;
  int number = 0;  // of the operation
  Kernel kernel = nullptr;
  std::vector<Tensor> tensors;  // `data` holds the opaque address until the command runs
  std::vector<std::shared_ptr<Storage>> storages;
  std::vector<double> attributes;
  int groups = 1;
  std::string trace;  // where it was enqueued, in debug mode

  std::shared_ptr<Storage> target;  // of a job: poisoned when the job throws
  bool overwrites = false;          // the job writes all of the target, so it is sound afterwards whatever it was before
  std::function<void(void* address)> job;
  std::function<void(const Poison& poison)> done;  // of a job: told how it went

  std::shared_ptr<Recording> replayed;  // its operations run in this one's place
  bool stepwise = false;                // they follow as commands of their own
  std::vector<Failure> failures;        // else: what they reported

  int64_t after = 0;                              // the collective that it comes behind; 0: none
  std::chrono::steady_clock::time_point since{};  // of one that other ranks take part in: when it was launched
  size_t concluded = 0;                           // and of how many of its communicators the others say that all is well
  Poison poison;                                  // why it did not run
  uint64_t fence = 0;                             // on an accelerator: the fence behind it, 0: none
  void *start = nullptr, *end = nullptr;          // and when its kernel ran, in a profile

  void clear();
};

std::string describe(const Command& command, const char* what);  // an operation and what befell it
Poison poisonOf(std::string text);

}  // namespace cd

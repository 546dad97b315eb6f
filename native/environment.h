// What one environment (the main thread, or one worker) has open, and the promises that streams settle in it.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <vector>

#include "device.h"
#include "weight_file.h"

namespace cd {

// A promise that the stream's thread settles.
struct Pending {
  Napi::Promise::Deferred deferred;
  Napi::Reference<Napi::ArrayBuffer> buffer;  // where the data goes; empty for a fence
  Poison poison;
};

struct OpenDevice {
  std::unique_ptr<Device> device;
  Napi::Reference<Napi::Float64Array> bufferReference;
  const double* buffer = nullptr;
  size_t bufferLength = 0;
};

// All state of one environment (the main thread, or one worker).
class Environment {
 public:
  explicit Environment(Napi::Env env);
  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }
  void stop();
  Napi::Promise promise(Napi::Env env, OpenDevice& open, std::shared_ptr<Storage> source, int64_t offset, int64_t bytes);

  std::vector<std::unique_ptr<OpenDevice>> devices;
  std::vector<std::shared_ptr<WeightFile>> files;

 private:
  void settled(Pending* pending);
  void drain(Napi::Env env);

  napi_threadsafe_function signal_ = nullptr;
  std::mutex mutex_;
  std::vector<Pending*> settled_;
  int64_t outstanding_ = 0;
};

}  // namespace cd

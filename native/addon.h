// What the files of the addon's surface share: arguments of a call, and functions as JavaScript sees them.
#pragma once

#include <napi.h>

#include "environment.h"

namespace cd {

inline OpenDevice& device(const Napi::CallbackInfo& info) {
  auto& devices = Environment::of(info.Env()).devices;
  const int64_t index = info[0].As<Napi::Number>().Int64Value();
  if (index < 0 || index >= static_cast<int64_t>(devices.size()) || !devices[index])
    throw Error("Expected an open device but it was closed");
  return *devices[index];
}

inline int64_t integer(const Napi::CallbackInfo& info, int index) { return info[index].As<Napi::Number>().Int64Value(); }

// Wraps a function so that cd::Error becomes a JavaScript Error.
template <Napi::Value (*function)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return function(info);
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(info.Env(), error.what());
  }
}

template <Napi::Value (*function)(const Napi::CallbackInfo&)>
void expose(Napi::Object exports, const char* name) {
  exports[name] = Napi::Function::New(exports.Env(), guarded<function>, name);
}

// Of ranks: communicators, and how processes meet.
void exposeCommunicators(Napi::Object exports);

}  // namespace cd

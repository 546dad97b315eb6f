#include "environment.h"

namespace cd {

Environment::Environment(Napi::Env env) {
  napi_create_threadsafe_function(
      env, nullptr, nullptr, Napi::String::New(env, "compress-distill"), 0, 1, nullptr, nullptr, this,
      [](napi_env env, napi_value, void* context, void*) {
        if (env) static_cast<Environment*>(context)->drain(env);
      },
      &signal_);
  napi_unref_threadsafe_function(env, signal_);
  // Cleanup hooks run newest first: streams stop before the function that their threads call goes away.
  napi_add_env_cleanup_hook(env, [](void* self) { static_cast<Environment*>(self)->stop(); }, this);
}

void Environment::stop() {
  for (auto& open : devices)
    if (open) open->device->stop();
  if (signal_) napi_release_threadsafe_function(signal_, napi_tsfn_abort);
  signal_ = nullptr;
}

void Environment::settled(Pending* pending) {
  {
    std::lock_guard lock(mutex_);
    settled_.push_back(pending);
  }
  napi_call_threadsafe_function(signal_, nullptr, napi_tsfn_nonblocking);
}

void Environment::drain(Napi::Env env) {
  std::vector<Pending*> ready;
  {
    std::lock_guard lock(mutex_);
    ready.swap(settled_);
  }
  Napi::HandleScope scope(env);
  for (Pending* pending : ready) {
    try {
      if (pending->poison) pending->deferred.Reject(Napi::Error::New(env, *pending->poison).Value());
      else pending->deferred.Resolve(pending->buffer.IsEmpty() ? env.Undefined() : Napi::Value(pending->buffer.Value()));
    } catch (const Napi::Error&) {
      // A worker that is being terminated runs no JavaScript any more: nobody waits.
    }
    delete pending;
    if (--outstanding_ == 0 && signal_) napi_unref_threadsafe_function(env, signal_);
  }
}

Napi::Promise Environment::promise(Napi::Env env, OpenDevice& open, std::shared_ptr<Storage> source, int64_t offset,
                                   int64_t bytes) {
  open.device->expectNoRecording("a read or a wait");
  auto* pending = new Pending{Napi::Promise::Deferred::New(env), {}, nullptr};
  const Napi::Promise promise = pending->deferred.Promise();
  void* target = nullptr;
  if (source) {
    const Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes);
    pending->buffer = Napi::Persistent(buffer);
    target = pending->buffer.Value().Data();
  }
  if (outstanding_++ == 0) napi_ref_threadsafe_function(env, signal_);
  auto done = [this, pending](const Poison& poison) {
    pending->poison = poison;
    settled(pending);
  };
  if (source) open.device->read(std::move(source), offset, bytes, target, std::move(done));
  else open.device->fence(std::move(done));
  return promise;
}

}  // namespace cd

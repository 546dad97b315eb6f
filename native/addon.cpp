// The addon's JavaScript surface. src/native.ts is its typed mirror, one to one; nothing else loads the addon.
//
// An operation is enqueued through a command buffer, a Float64Array that both sides see, so that a call costs well under a
// microsecond:
//   [op, tensors, attributes, then per tensor: handle (−1: left out), dtype, offset, rowStride, rank, shape…, then the
//   attributes…]
// Offsets and strides are in elements. Every bound is checked here again.
#include "addon.h"

#include <cstring>

#include "command_reader.h"
#include "ops.h"
#include "peak.h"

namespace cd {
namespace {

void checkRange(const Storage& storage, int64_t offset, int64_t bytes) {
  if (offset < 0 || bytes < 0 || offset > storage.bytes || bytes > storage.bytes - offset)
    throw Error("Expected bytes within a storage of " + std::to_string(storage.bytes) + " but received " + std::to_string(bytes) +
                " from " + std::to_string(offset));
}

// listOps(backend)
Napi::Value listOps(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Backend& backend = findBackend(info[0].As<Napi::String>().Utf8Value());
  constexpr const char* kAccess[] = {"in", "out", "inout"};
  constexpr const char* kFolders[] = {
#define X(name, folder) #folder,
#include "../kernels/ops.def"
#undef X
  };
  Napi::Array list = Napi::Array::New(env);
  for (const Op* op : allOps()) {
    Napi::Object entry = Napi::Object::New(env);
    entry["name"] = op->name;
    entry["folder"] = kFolders[list.Length()];
    Napi::Array tensors = Napi::Array::New(env), attributes = Napi::Array::New(env);
    for (const TensorParameter& parameter : op->tensors) {
      Napi::Object tensor = Napi::Object::New(env);
      tensor["name"] = parameter.name;
      tensor["access"] = kAccess[static_cast<int>(parameter.access)];
      tensor["optional"] = parameter.optional;
      tensors[tensors.Length()] = tensor;
    }
    for (const char* name : op->attributes) attributes[attributes.Length()] = name;
    entry["tensors"] = tensors;
    entry["attributes"] = attributes;
    entry["groupTensors"] = op->groupTensors;
    entry["groupAttributes"] = op->groupAttributes;
    entry["implemented"] = backend.kernels[list.Length()] != nullptr;
    list[list.Length()] = entry;
  }
  return list;
}

Napi::Value listInstructionSets(const Napi::CallbackInfo& info) {
  Napi::Array list = Napi::Array::New(info.Env());
  for (const std::string& name : instructionSets()) list[list.Length()] = name;
  return list;
}

// cudaLibraries() → { title, path, problem }[]
Napi::Value listCudaLibraries(const Napi::CallbackInfo& info) {
  Napi::Array list = Napi::Array::New(info.Env());
  for (const FoundLibrary& library : cudaLibraries()) {
    Napi::Object entry = Napi::Object::New(info.Env());
    entry["title"] = library.title;
    entry["path"] = library.path;
    entry["problem"] = library.problem;
    list[list.Length()] = entry;
  }
  return list;
}

// openDevice(backend, index, threads, memoryLimit, chaos, profile, commandBuffer) → number
Napi::Value openDevice(const Napi::CallbackInfo& info) {
  auto& devices = Environment::of(info.Env()).devices;
  auto open = std::make_unique<OpenDevice>();
  const Napi::Float64Array buffer = info[6].As<Napi::Float64Array>();
  open->bufferReference = Napi::Persistent(buffer);
  open->buffer = buffer.Data();
  open->bufferLength = buffer.ElementLength();
  const double limit = info[3].As<Napi::Number>().DoubleValue();
  DeviceOptions options{&findBackend(info[0].As<Napi::String>().Utf8Value())};
  options.index = static_cast<int>(integer(info, 1));
  options.threads = static_cast<int>(integer(info, 2));
  options.memoryLimit = limit < 9e18 ? static_cast<int64_t>(limit) : INT64_MAX;
  options.chaos = info[4].ToBoolean().Value();
  options.profile = info[5].ToBoolean().Value();
  open->device = std::make_unique<Device>(options);
  devices.push_back(std::move(open));
  return Napi::Number::New(info.Env(), static_cast<double>(devices.size() - 1));
}

Napi::Value closeDevice(const Napi::CallbackInfo& info) {
  OpenDevice& open = device(info);
  for (auto& entry : Environment::of(info.Env()).devices)
    if (entry.get() == &open) entry.reset();
  return info.Env().Undefined();
}

Napi::Value describeDevice(const Napi::CallbackInfo& info) {
  OpenDevice& open = device(info);
  const MemoryStatistics& memory = open.device->allocator().statistics();
  Napi::Object result = Napi::Object::New(info.Env());
  result["liveTensors"] = static_cast<double>(memory.liveTensors);
  result["liveBytes"] = static_cast<double>(memory.liveBytes);
  result["peakBytes"] = static_cast<double>(memory.peakBytes);
  result["reservedBytes"] = static_cast<double>(memory.reservedBytes);
  result["scratchBytes"] = static_cast<double>(open.device->scratchBytes());
  result["graphReplays"] = static_cast<double>(open.device->graphReplays());
  result["threads"] = open.device->threads();
  result["instructionSet"] = open.device->backend().name;
  result["accelerator"] = info.Env().Null();
  if (const Accelerator* accelerator = open.device->accelerator()) {
    const DeviceMemory hardware = accelerator->memory();
    Napi::Object object = Napi::Object::New(info.Env());
    object["description"] = accelerator->description();
    object["freeBytes"] = static_cast<double>(hardware.free);
    object["totalBytes"] = static_cast<double>(hardware.total);
    result["accelerator"] = object;
  }
  return result;
}

// profile(device) → per operation, in the order of listOps: calls, nanoseconds
Napi::Value profile(const Napi::CallbackInfo& info) {
  const std::vector<OpCost>& costs = device(info).device->costs();
  Napi::Float64Array result = Napi::Float64Array::New(info.Env(), costs.size() * 2);
  for (size_t index = 0; index < costs.size(); ++index) {
    result[2 * index] = static_cast<double>(costs[index].calls.load(std::memory_order_relaxed));
    result[2 * index + 1] = static_cast<double>(costs[index].nanoseconds.load(std::memory_order_relaxed));
  }
  return result;
}

Napi::Value allocate(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(device(info).device->allocate(integer(info, 1))));
}

Napi::Value release(const Napi::CallbackInfo& info) {
  device(info).device->release(integer(info, 1));
  return info.Env().Undefined();
}

Napi::Value failAllocationsAfter(const Napi::CallbackInfo& info) {
  device(info).device->allocator().failAfter(integer(info, 1));
  return info.Env().Undefined();
}

// enqueue(device, trace?): runs the operation that the command buffer describes.
Napi::Value enqueue(const Napi::CallbackInfo& info) {
  OpenDevice& open = device(info);
  std::unique_ptr<Command> command = readCommand(*open.device, open.buffer, open.bufferLength);
  if (info.Length() > 1 && info[1].IsString()) command->trace = info[1].As<Napi::String>().Utf8Value();
  open.device->enqueue(std::move(command));
  return info.Env().Undefined();
}

// startRecording(device, recording that shares its memory, or −1)
Napi::Value startRecording(const Napi::CallbackInfo& info) {
  device(info).device->startRecording(integer(info, 1));
  return info.Env().Undefined();
}

Napi::Value stopRecording(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(device(info).device->stopRecording()));
}

// replay(device, recording)
Napi::Value replay(const Napi::CallbackInfo& info) {
  device(info).device->replay(integer(info, 1));
  return info.Env().Undefined();
}

Napi::Value releaseRecording(const Napi::CallbackInfo& info) {
  device(info).device->releaseRecording(integer(info, 1));
  return info.Env().Undefined();
}

// write(device, handle, byteOffset, bytes): copies now, lands in stream order.
Napi::Value write(const Napi::CallbackInfo& info) {
  OpenDevice& open = device(info);
  const std::shared_ptr<Storage>& storage = open.device->storage(integer(info, 1));
  const int64_t offset = integer(info, 2);
  const Napi::Uint8Array source = info[3].As<Napi::Uint8Array>();
  const int64_t bytes = static_cast<int64_t>(source.ByteLength());
  checkRange(*storage, offset, bytes);
  open.device->write(storage, offset, std::vector<uint8_t>(source.Data(), source.Data() + bytes));
  return info.Env().Undefined();
}

// read(device, handle, byteOffset, byteLength) → Promise<ArrayBuffer>
Napi::Value read(const Napi::CallbackInfo& info) {
  OpenDevice& open = device(info);
  const std::shared_ptr<Storage>& storage = open.device->storage(integer(info, 1));
  checkRange(*storage, integer(info, 2), integer(info, 3));
  return Environment::of(info.Env()).promise(info.Env(), open, storage, integer(info, 2), integer(info, 3));
}

// synchronize(device) → Promise<void>, when all that was enqueued so far has run
Napi::Value synchronize(const Napi::CallbackInfo& info) {
  return Environment::of(info.Env()).promise(info.Env(), device(info), nullptr, 0, 0);
}

// measureRate(device, handle, rate): writes the rate, an f64, to the start of a storage, in stream order
Napi::Value measureRate(const Napi::CallbackInfo& info) {
  OpenDevice& open = device(info);
  const std::shared_ptr<Storage>& storage = open.device->storage(integer(info, 1));
  const int64_t rate = integer(info, 2);
  if (rate < 0 || rate > static_cast<int64_t>(Rate::Read))
    throw Error("Expected 'rate' to be 0 to 3 but received " + std::to_string(rate));
  checkRange(*storage, 0, sizeof(double));
  open.device->upload(storage, 0, sizeof(double), [rate, device = open.device.get()](void* target) {
    const double measured = device->measureRate(static_cast<int>(rate));
    std::memcpy(target, &measured, sizeof measured);
  });
  return info.Env().Undefined();
}

// openWeights(path) → { file, format, entries, metadata }
Napi::Value openWeights(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  std::shared_ptr<WeightFile> file = WeightFile::open(info[0].As<Napi::String>().Utf8Value());
  Napi::Array entries = Napi::Array::New(env, file->entries().size());
  for (uint32_t index = 0; index < file->entries().size(); ++index) {
    const WeightFile::Entry& entry = file->entries()[index];
    Napi::Object object = Napi::Object::New(env);
    object["name"] = entry.name;
    object["dtype"] = entry.dtype;
    Napi::Array shape = Napi::Array::New(env, entry.shape.size());
    for (uint32_t axis = 0; axis < entry.shape.size(); ++axis) shape[axis] = static_cast<double>(entry.shape[axis]);
    object["shape"] = shape;
    object["offset"] = static_cast<double>(entry.offset);
    object["bytes"] = static_cast<double>(entry.bytes);
    entries[index] = object;
  }
  auto& files = Environment::of(env).files;
  Napi::Object result = Napi::Object::New(env);
  result["file"] = static_cast<double>(files.size());
  result["format"] = file->format();
  result["entries"] = entries;
  result["metadata"] = file->metadataJson();
  files.push_back(std::move(file));
  return result;
}

std::shared_ptr<WeightFile>& weightFile(const Napi::CallbackInfo& info, int index) {
  auto& files = Environment::of(info.Env()).files;
  const int64_t number = integer(info, index);
  if (number < 0 || number >= static_cast<int64_t>(files.size()) || !files[number])
    throw Error("Expected an open weight file but it was closed");
  return files[number];
}

// readWeights(device, file, entry, handle, byteOffset, dtype, unpermuteHeads, firstRow, rows, firstColumn, columns): converts a
// part of one tensor into storage, in stream order
Napi::Value readWeights(const Napi::CallbackInfo& info) {
  OpenDevice& open = device(info);
  const std::shared_ptr<WeightFile> file = weightFile(info, 1);
  const int64_t entry = integer(info, 2), offset = integer(info, 4), heads = integer(info, 6);
  const std::shared_ptr<Storage>& storage = open.device->storage(integer(info, 3));
  const DType dtype = static_cast<DType>(integer(info, 5));
  if (entry < 0 || entry >= static_cast<int64_t>(file->entries().size())) throw Error("Expected an entry of " + file->path());
  const WeightFile::Region region{integer(info, 7), integer(info, 8), integer(info, 9), integer(info, 10)};
  file->expectRegion(static_cast<size_t>(entry), region);
  const int64_t rowBytes = region.columns * dtypeSize(dtype);
  checkRange(*storage, offset, region.rows * rowBytes);
  open.device->uploadRows(
      storage, offset, region.rows, rowBytes, [file, entry, dtype, heads, region](void* target, int64_t first, int64_t count) {
        file->read(entry, dtype, target, {region.firstRow + first, count, region.firstColumn, region.columns}, heads);
      });
  return info.Env().Undefined();
}

Napi::Value closeWeights(const Napi::CallbackInfo& info) {
  weightFile(info, 0).reset();
  return info.Env().Undefined();
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  env.SetInstanceData(new Environment(env));
  expose<listOps>(exports, "listOps");
  expose<listInstructionSets>(exports, "listInstructionSets");
  expose<listCudaLibraries>(exports, "cudaLibraries");
  expose<openDevice>(exports, "openDevice");
  expose<closeDevice>(exports, "closeDevice");
  expose<describeDevice>(exports, "describeDevice");
  expose<profile>(exports, "profile");
  expose<allocate>(exports, "allocate");
  expose<release>(exports, "release");
  expose<failAllocationsAfter>(exports, "failAllocationsAfter");
  expose<enqueue>(exports, "enqueue");
  expose<startRecording>(exports, "startRecording");
  expose<stopRecording>(exports, "stopRecording");
  expose<replay>(exports, "replay");
  expose<releaseRecording>(exports, "releaseRecording");
  expose<write>(exports, "write");
  expose<read>(exports, "read");
  expose<synchronize>(exports, "synchronize");
  expose<measureRate>(exports, "measureRate");
  exposeCommunicators(exports);
  expose<openWeights>(exports, "openWeights");
  expose<readWeights>(exports, "readWeights");
  expose<closeWeights>(exports, "closeWeights");
  return exports;
}

}  // namespace
}  // namespace cd

static Napi::Object initialise(Napi::Env env, Napi::Object exports) { return cd::initialise(env, exports); }
NODE_API_MODULE(compress_distill, initialise)

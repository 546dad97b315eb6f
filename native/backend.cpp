#include "backend.h"

#include <dlfcn.h>

#include <cstdlib>

#include "ops.h"

namespace cd {

namespace {
std::string folderOfAddon() {
  Dl_info info;
  if (!dladdr(reinterpret_cast<void*>(&findBackend), &info)) return ".";
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/'));
}

// The file compress_distill_<name>.so; null, with the reason added to `problems`, where it cannot be had.
const Backend* load(const std::string& name, std::string& problems) {
  const std::string path = folderOfAddon() + "/compress_distill_" + name + ".so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    problems += std::string(problems.empty() ? "" : "; ") + dlerror();
    return nullptr;
  }
  const auto entry = reinterpret_cast<const Backend* (*)()>(dlsym(library, "compress_distill_backend"));
  const Backend* backend = entry ? entry() : nullptr;
  if (backend && backend->kernelCount == static_cast<int>(allOps().size())) return backend;
  problems += std::string(problems.empty() ? "" : "; ") + path + " belongs to another build";
  return nullptr;
}

const Backend& cpuBackend() {
  static const Backend* found = [] {
    std::string problems;
    const char* chosen = std::getenv("COMPRESS_DISTILL_ISA");
    const std::vector<std::string> names = chosen ? std::vector<std::string>{chosen} : instructionSets();
    for (const std::string& name : names)
      if (const Backend* backend = load("cpu_" + name, problems)) return backend;
    throw Error("No CPU back end could be loaded (" + problems + "); build it with `npm run build`");
  }();
  return *found;
}

const Backend& cudaBackend() {
  static const Backend* found = [] {
    if (!dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL))
      throw Error(
          "Device 'cuda' is not available: no NVIDIA driver (libcuda.so.1) on this machine; install one, or use --device cpu");
    std::string problems;
    if (const Backend* backend = load("cuda", problems)) return backend;
    throw Error("Device 'cuda' is not available: its plug-in could not be loaded (" + problems +
                "); with nvcc on PATH run `npm run build`, or use --device cpu");
  }();
  return *found;
}

const Backend& emulatedBackend() {
  static const Backend* found = [] {
    std::string problems;
    if (const Backend* backend = load("cuda_emulated", problems)) return backend;
    throw Error("Device 'cuda-emulated' is not available (" + problems + "); build it with `npm run build`");
  }();
  return *found;
}
}  // namespace

std::vector<std::string> instructionSets() {
  std::vector<std::string> names;
#if defined(__x86_64__)
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512 && __builtin_cpu_supports("avx512bf16")) names.push_back("avx512bf16");
  if (avx512) names.push_back("avx512");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) names.push_back("avx2");
#else
  names.push_back("baseline");
#endif
  return names;
}

std::vector<FoundLibrary> cudaLibraries() {
  std::string problems;
  if (const Backend* backend = load("cuda", problems)) return backend->libraries();
  throw Error(problems);
}

const Backend& findBackend(const std::string& name) {
  if (name == "cpu") return cpuBackend();
  if (name == "cuda") return cudaBackend();
  if (name == "cuda-emulated") return emulatedBackend();
  throw Error("Expected back end 'cpu', 'cuda' or 'cuda-emulated' but received '" + name + "'");
}

}  // namespace cd

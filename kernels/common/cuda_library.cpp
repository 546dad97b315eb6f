#include "cuda_library.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>

#include <cstdlib>
#include <sstream>

namespace cd::cuda {
namespace {

// Folders to look in after the loader's own, as patterns.
std::vector<std::string> folders() {
  std::vector<std::string> list;
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* home = std::getenv(variable))
      list.insert(list.end(), {std::string(home) + "/lib64", std::string(home) + "/lib"});
  list.push_back("/usr/local/cuda/lib64");
  // pip: nvidia/cu13/lib since CUDA 13, nvidia/<part>/lib before.
  std::vector<std::string> prefixes;
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const char* prefix = std::getenv(variable)) prefixes.push_back(prefix);
  if (const char* home = std::getenv("HOME")) prefixes.push_back(std::string(home) + "/.local");
  // Beside every python that could be started, in an environment that is active or only on PATH.
  std::istringstream path(std::getenv("PATH") ? std::getenv("PATH") : "");
  for (std::string folder; std::getline(path, folder, ':');)
    if (folder.starts_with("/")) prefixes.push_back(folder + "/..");
  prefixes.insert(prefixes.end(), {"/usr/local", "/usr", "/opt/conda"});
  for (const std::string& prefix : prefixes)
    for (const char* packages : {"site-packages", "dist-packages"})
      list.push_back(prefix + "/lib/python3*/" + packages + "/nvidia/*/lib");
  return list;
}

std::vector<std::string> matches(const std::string& pattern) {
  std::vector<std::string> paths;
  glob_t found;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  return paths;
}
}  // namespace

Library::Library(const char* title, std::vector<std::string> names, const char* package) : title_(title) {
  for (const std::string& name : names) {
    handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    for (const std::string& folder : folders()) {
      if (handle_) break;
      for (const std::string& path : matches(folder + "/" + name))
        if ((handle_ = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL))) break;
    }
    if (!handle_) continue;
    link_map* map = nullptr;
    if (dlinfo(handle_, RTLD_DI_LINKMAP, &map) == 0) path_ = map->l_name;
    return;
  }
  problem_ = title_ + " (" + names.front() + ") was not found; pip install " + package + ", or set CUDA_HOME or LD_LIBRARY_PATH";
}

void* Library::find(const char* name) {
  if (!handle_) return nullptr;
  void* const address = dlsym(handle_, name);
  if (!address) problem_ = path_ + " has no " + name + "; install a newer one";
  return address;
}

Library& cublasLt() {
  static Library library("cuBLASLt", {"libcublasLt.so.13", "libcublasLt.so.12"}, "nvidia-cublas");
  return library;
}

Library& ncclLibrary() {
  static Library library("NCCL", {"libnccl.so.2"}, "nvidia-nccl-cu13");
  return library;
}

std::vector<FoundLibrary> findLibraries() {
  std::vector<FoundLibrary> list;
  for (const Library* library : {&cublasLt(), &ncclLibrary()})
    list.push_back({library->title(), library->path(), library->problem()});
  return list;
}

}  // namespace cd::cuda

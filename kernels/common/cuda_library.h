// Libraries of CUDA that are found when they are needed: where the loader looks, under CUDA_HOME, and where pip puts them.
#pragma once

#include <string>
#include <vector>

#include "cuda_backend.h"

namespace cd::cuda {

class Library {
 public:
  // names: of the file, the best first. package: what pip calls it, for the remedy. Not there: `problem` says so in one line.
  Library(const char* title, std::vector<std::string> names, const char* package);

  const std::string& title() const { return title_; }
  const std::string& path() const { return path_; }  // empty: not found
  const std::string& problem() const { return problem_; }

  // Null, with the problem told, when the library or the symbol is not there.
  template <class Function>
  Function* symbol(const char* name) {
    return reinterpret_cast<Function*>(find(name));
  }

 private:
  void* find(const char* name);

  std::string title_, path_, problem_;
  void* handle_ = nullptr;
};

Library& cublasLt();
Library& ncclLibrary();

}  // namespace cd::cuda

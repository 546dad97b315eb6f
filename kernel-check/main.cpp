// kernel-check: every CUDA kernel against the CPU's, on a GPU or emulated, without Node. See kernels/README.md.
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>

#include "../native/backend.h"
#include "../native/ops.h"
#include "compare.h"
#include "planted.h"

namespace cd::check {
namespace {

const char kUsage[] =
    "kernel-check [--backend PATH] [--op NAME] [--case TEXT] [--order forward|reverse|seed:N] [--planted PATH] [--list]\n"
    "  --backend  plug-in whose kernels are checked; default: compress_distill_cuda_emulated.so beside this program\n"
    "  --op       an operation, as often as wanted; default: all\n"
    "  --case     cases whose name holds TEXT; default: all\n"
    "  --order    of warps, lanes and blocks in emulation; default: forward, reverse and seed:1, one after another\n"
    "  --planted  a plug-in with planted bugs, which must all be found; nothing else is checked\n"
    "  --list     names the cases and runs none\n";

// They need what one process does not have: other ranks.
const std::set<std::string> kWithoutCases = {"all_reduce", "all_gather", "reduce_scatter", "broadcast"};

struct Options {
  std::string backend, name, planted;
  std::set<std::string> ops;
  std::vector<std::string> orders;
  bool list = false;
};

Options parse(int count, char** words) {
  Options options;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    if (word == "--list") {
      options.list = true;
      continue;
    }
    std::string* target = word == "--backend"   ? &options.backend
                          : word == "--case"    ? &options.name
                          : word == "--planted" ? &options.planted
                                                : nullptr;
    if (!target && word != "--order" && word != "--op") throw Error("unknown option '" + word + "'\n" + kUsage);
    if (++i == count) throw Error("Expected a value after " + word + "\n" + kUsage);
    if (target) *target = words[i];
    else if (word == "--op") options.ops.insert(words[i]);
    else options.orders.push_back(words[i]);
  }
  if (options.orders.empty()) options.orders = {"forward", "reverse", "seed:1"};
  return options;
}

void* symbol(const std::string& path, const char* name) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) throw Error(dlerror());
  void* found = dlsym(library, name);
  if (!found) throw Error(path + " has no " + name);
  return found;
}

std::string beside(const char* name) {
  Dl_info info;
  dladdr(reinterpret_cast<void*>(&beside), &info);
  const std::string path = info.dli_fname;
  return path.substr(0, path.rfind('/') + 1) + name;
}

class Checker {
 public:
  Checker(const Backend& cpu, const Backend& backend, std::vector<std::string> orders)
      : cpu_(cpu),
        accelerator_(backend.open ? backend.open(0) : nullptr),
        emulated_(!std::strcmp(backend.name, "cuda-emulated")),
        orders_(std::move(orders)) {
    if (accelerator_) accelerator_->attach();
    if (!emulated_) orders_ = {"first run", "second run"};
  }

  std::string description() const { return accelerator_ ? accelerator_->description() : "the host"; }
  // Why nothing will run on the device any more; empty: it works.
  std::string lost() const { return accelerator_ ? accelerator_->lost() : ""; }

  struct Verdict {
    std::vector<std::string> problems;
    double worst = 0;
  };

  // The kernel's results are right in every order, and have the same bits in each.
  Verdict check(int number, Kernel kernel, const Case& one) {
    const Op& op = *allOps()[static_cast<size_t>(number)];
    Verdict verdict;
    const Outcome expected = run(op, cpu_.kernels[number], nullptr, true, one, initial(one, 0xa5));
    const Images before = initial(one, 0xff);
    Outcome first;
    for (const std::string& order : orders_) {
      if (emulated_) setenv("COMPRESS_DISTILL_EMULATION_ORDER", order.c_str(), 1);
      try {
        const Outcome actual = run(op, kernel, accelerator_.get(), emulated_, one, before);
        const Comparison comparison = compare(op, one, expected, before, actual);
        verdict.worst = std::max(verdict.worst, comparison.worst);
        for (const std::string& problem : comparison.problems) verdict.problems.push_back(order + ": " + problem);
        if (&order == &orders_.front()) first = actual;
        else if (expected.failure.empty() && actual.after.storages != first.after.storages)
          verdict.problems.push_back(order + ": other bits than in " + orders_.front());
      } catch (const Error& error) {
        verdict.problems.push_back(order + ": " + error.what());
      }
    }
    return verdict;
  }

 private:
  const Backend& cpu_;
  std::unique_ptr<Accelerator> accelerator_;
  bool emulated_;
  std::vector<std::string> orders_;
};

int checkAll(const Options& options, const Backend& backend) {
  Checker checker(findBackend("cpu"), backend, options.orders);
  std::printf("%s: %s against %s\n", backend.name, checker.description().c_str(), findBackend("cpu").name);
  std::printf("%-26s %5s %12s %8s\n", "operation", "cases", "worst error", "seconds");
  int failures = 0, checked = 0;
  std::vector<std::string> without;
  for (size_t number = 0; number < allOps().size(); ++number) {
    const std::string name = allOps()[number]->name;
    if (!options.ops.empty() && !options.ops.contains(name)) continue;
    const Kernel kernel = backend.kernels[number];
    if (!kernel) {
      without.push_back(name);
      continue;
    }
    if (kWithoutCases.contains(name)) continue;
    const auto start = std::chrono::steady_clock::now();
    int cases = 0, failed = 0;
    double worst = 0;
    std::vector<std::string> problems;
    for (const Case& one : allCases()[name]) {
      if (one.name.find(options.name) == std::string::npos) continue;
      ++cases;
      const Checker::Verdict verdict = checker.check(static_cast<int>(number), kernel, one);
      worst = std::max(worst, verdict.worst);
      failed += !verdict.problems.empty();
      for (const std::string& problem : verdict.problems) problems.push_back("  " + one.name + ": " + problem);
      if (!checker.lost().empty()) break;
    }
    if (cases == 0 && options.name.empty()) {
      problems.push_back("  no cases: list them in kernel-check/cases/");
      failed = 1;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    for (const std::string& problem : problems) std::printf("%s\n", problem.c_str());
    if (cases > 0 || failed > 0)
      std::printf("%-26s %5d %12.3f %8.2f %s\n", name.c_str(), cases, worst, seconds, failed ? "FAILED" : "");
    std::fflush(stdout);
    failures += failed;
    checked += cases;
    if (const std::string lost = checker.lost(); !lost.empty()) {
      std::printf("%s; what comes behind %s was not checked\n", lost.c_str(), name.c_str());
      return 1;
    }
  }
  if (!without.empty()) {
    std::printf("No kernel yet:");
    for (const std::string& name : without) std::printf(" %s", name.c_str());
    std::printf("\n");
  }
  if (checked == 0) throw Error("no case fits");
  std::printf("%d cases, %d failed. A worst error of 1 is the most that is allowed.\n", checked, failures);
  return failures ? 1 : 0;
}

// A planted bug is found when its operation's cases all pass without it and some fail with it.
int checkPlanted(const Options& options, const Backend& backend) {
  Checker checker(findBackend("cpu"), backend, options.orders);
  int count = 0, missed = 0;
  const Planted* planted = reinterpret_cast<PlantedList>(symbol(options.planted, "compress_distill_planted"))(&count);
  for (const Planted* bug = planted; bug != planted + count; ++bug) {
    int number = 0;
    while (std::strcmp(allOps().at(static_cast<size_t>(number))->name, bug->op) != 0) ++number;
    std::string found, innocent;
    for (const Case& one : allCases()[bug->op]) {
      for (const std::string& problem : checker.check(number, bug->sound, one).problems)
        if (innocent.empty()) innocent = one.name + ": " + problem;
      if (!found.empty()) continue;
      for (const std::string& problem : checker.check(number, bug->broken, one).problems)
        if (found.empty()) found = one.name + ": " + problem;
    }
    const bool good = innocent.empty() && !found.empty();
    missed += !good;
    std::printf("%-8s %s (%s)\n", good ? "found" : "MISSED", bug->bug, bug->op);
    std::printf("  %s\n", !innocent.empty() ? ("without the bug, " + innocent).c_str() : found.c_str());
  }
  std::printf("%d planted bugs, %d missed.\n", count, missed);
  return missed || count == 0 ? 1 : 0;
}

int main(int count, char** words) {
  const Options options = parse(count, words);
  if (options.list) {
    for (const auto& [op, cases] : allCases())
      for (const Case& one : cases) std::printf("%s: %s\n", op.c_str(), one.name.c_str());
    return 0;
  }
  const std::string path = options.backend.empty() ? beside("compress_distill_cuda_emulated.so") : options.backend;
  const Backend* backend = reinterpret_cast<const Backend* (*)()>(symbol(path, "compress_distill_backend"))();
  if (backend->kernelCount != static_cast<int>(allOps().size())) throw Error(path + " belongs to another build");
  return options.planted.empty() ? checkAll(options, *backend) : checkPlanted(options, *backend);
}

}  // namespace
}  // namespace cd::check

int main(int count, char** words) {
  try {
    return cd::check::main(count, words);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "kernel-check: %s\n", error.what());
    return 2;
  }
}

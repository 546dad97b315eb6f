#include <algorithm>
#include <vector>

#include "../common/dispatch.h"
#include "../common/elementwise.h"

namespace cd::cpu {

namespace {
constexpr int64_t kRun = 4096;

// Σ term(x[i]) of one run, four vectors abreast to hide the latency of the additions.
template <class T, class Term>
float runSum(const T* x, int64_t count, Term&& term) {
  using namespace simd;
  Vec total[4] = {};
  int64_t i = 0;
  for (; i + 4 * kWidth <= count; i += 4 * kWidth)
    for (int part = 0; part < 4; ++part) total[part] += term(load(x + i + part * kWidth));
  for (; i + kWidth <= count; i += kWidth) total[0] += term(load(x + i));
  if (i < count) total[1] += term(loadTail(x + i, count - i));
  return simd::sum((total[0] + total[1]) + (total[2] + total[3]));
}

// Over the tensors [first, first + count) of the call.
template <class Term>
double total(const Call& call, int first, int count, Term&& term) {
  std::vector<Spans> spans;
  std::vector<int64_t> ends;  // of each tensor's tasks, counted through
  for (int index = first; index < first + count; ++index) {
    spans.emplace_back(call[index], call[index].contiguous());
    ends.push_back((ends.empty() ? 0 : ends.back()) + spans.back().tasks());
  }
  const int64_t tasks = ends.back();
  if (tasks == 0) return 0;
  double* partial = call.scratch<double>(tasks);
  withFloat(call[first].dtype, [&](auto zero) {
    using T = decltype(zero);
    call.parallelFor(tasks, [&](int64_t task, int) {
      const size_t index = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), task) - ends.begin());
      const Tensor& x = call[first + static_cast<int>(index)];
      double mine = 0;
      spans[index].each(task - (index > 0 ? ends[index - 1] : 0), [&](int64_t row, int64_t start, int64_t count) {
        for (int64_t done = 0; done < count; done += kRun)
          mine += runSum(x.row<T>(row) + start + done, count - done < kRun ? count - done : kRun, term);
      });
      partial[task] = mine;
    });
  });
  double result = 0;
  for (int64_t task = 0; task < tasks; ++task) result += partial[task];
  return result;
}
}  // namespace

void sum(const Call& call) {
  *call[1].as<float>() = static_cast<float>(total(call, 0, 1, [](simd::Vec x) { return x; }));
}

void sum_squares(const Call& call) {
  float* acc = call[0].as<float>();
  *acc = static_cast<float>(*acc + total(call, 1, call.groups, [](simd::Vec x) { return x * x; }));
}

void clip_factor(const Call& call) {
  const float maxNorm = static_cast<float>(call.attribute(0)), norm = std::sqrt(*call[0].as<float>());
  const float factor = maxNorm / (norm + 1e-6f);
  *call[1].as<float>() = norm;
  *call[2].as<float>() = maxNorm <= 0 || factor > 1 ? 1.0f : factor;
}

}  // namespace cd::cpu

// A product with a second one of low rank beside it, task by task: sums of the first wait, in f32, for those of the second. Bits
// are those of two calls of matmul on c in f32, rounded in the end.
#include "../common/dispatch.h"
#include "../common/elementwise.h"
#include "../common/product.h"
#include "../common/stream.h"
#include "../common/turned.h"

namespace cd::cpu {
using namespace units;

namespace {
// Where the sums of one task wait: its rows from (row, column) of c on, `stride` apart.
struct Waiting {
  float* sums;
  int64_t row, column, stride;
  float* at(int64_t r, int64_t c) const { return sums + (r - row) * stride + c - column; }
};

template <class T, class C>
struct LowRank {
  using U = Unit<T>;
  static constexpr int64_t kAlignment = 16;  // floats

  struct Factors {
    const Tensor &left, &right;
    int64_t K;
  };

  const Call& call;
  const Tensor& c;
  const Factors factors[2];
  const bool transposed, accumulate;
  const float alpha;
  const int64_t M, N, workers;

  explicit LowRank(const Call& call)
      : call(call),
        c(call[4]),
        factors{{call[0], call[1], call[0].shape[1]}, {call[2], call[3], call[2].shape[1]}},
        transposed(call.attribute(0) != 0),
        accumulate(call.attribute(1) != 0),
        alpha(static_cast<float>(call.attribute(2))),
        M(c.shape[0]),
        N(c.shape[1]),
        workers(call.parallel->workers()) {}

  // What takes the sums of the first product, and of the second one.
  auto first(const Waiting& waiting) const {
    return [this, &waiting](int64_t row, int64_t column, int64_t columns, const float* values) {
      float* const target = waiting.at(row, column);
      if (accumulate) map(columns, target, [](Vec before, Vec sum) { return before + sum; }, c.row<C>(row) + column, values);
      else std::memcpy(target, values, columns * sizeof(float));
    };
  }
  auto second(const Waiting& waiting) const {
    return [this, &waiting](int64_t row, int64_t column, int64_t columns, const float* values) {
      map(
          columns, c.row<C>(row) + column, [this](Vec total, Vec sum) { return total + sum * alpha; }, waiting.at(row, column),
          values);
    };
  }

  static int64_t aligned(int64_t floats) { return (floats + kAlignment - 1) / kAlignment * kAlignment; }

  // Scratch memory: `own` floats for each worker, then one piece for each product.
  struct Memory {
    float* workers;
    U* pieces[2];
    int64_t own;
    float* of(int worker) const { return workers + worker * own; }
  };
  Memory memoryFor(int64_t own, int64_t firstPiece, int64_t secondPiece) const {
    own = aligned(own);
    float* const all = call.scratch<float>(workers * own + aligned(firstPiece) + secondPiece);
    U* const pieces = reinterpret_cast<U*>(all + workers * own);
    return {all, {pieces, pieces + aligned(firstPiece)}, own};
  }

  // So few rows that reading `right` is the work.
  void whileReading() const {
    const int64_t groups = (N + kWidth - 1) / kWidth, perTask = std::clamp<int64_t>(groups / (8 * workers), 1, 32);
    const Memory memory = memoryFor(M * perTask * kWidth, M * unitCount<U>(factors[0].K), M * unitCount<U>(factors[1].K));
    for (int i : {0, 1}) packLeft<T, U>(call, factors[i].left, false, M, factors[i].K, memory.pieces[i]);
    call.parallelFor((groups + perTask - 1) / perTask, [&](int64_t task, int worker) {
      const int64_t from = task * perTask * kWidth, to = std::min(N, from + perTask * kWidth);
      const Waiting waiting{memory.of(worker), 0, from, perTask * kWidth};
      const auto multiply = [&](int i, auto&& emit) {
        const auto& [left, right, K] = factors[i];
        multiplyTurnedRows<U>(memory.pieces[i], M, K, right.template as<T>(), right.rowStride, from, to, emit);
      };
      multiply(0, first(waiting));
      multiply(1, second(waiting));
    });
  }

  void fewRows() const {
    const int64_t groups = (N + kGroup - 1) / kGroup, perTask = std::clamp<int64_t>(groups / (8 * workers), 1, 4);
    const int64_t workspace = aligned(streamWorkspace<U>(std::max(factors[0].K, factors[1].K)));
    const Memory memory =
        memoryFor(workspace + M * perTask * kGroup, FewRows<U>::size(M, factors[0].K), FewRows<U>::size(M, factors[1].K));
    const FewRows<U> few[] = {{M, factors[0].K, memory.pieces[0]}, {M, factors[1].K, memory.pieces[1]}};
    call.parallelFor(panelCount(M), [&](int64_t panel, int) {
      for (int i : {0, 1}) few[i].pack(panel, Right<T>{factors[i].left.template as<T>(), factors[i].left.rowStride, true});
    });
    call.parallelFor((groups + perTask - 1) / perTask, [&](int64_t task, int worker) {
      const int64_t from = task * perTask * kGroup, to = std::min(N, from + perTask * kGroup);
      const Waiting waiting{memory.of(worker) + workspace, 0, from, perTask * kGroup};
      const auto multiply = [&](int i, auto&& emit) {
        const Tensor& right = factors[i].right;
        streamRows(few[i], right.template as<T>(), right.rowStride, from, to, reinterpret_cast<U*>(memory.of(worker)), emit);
      };
      multiply(0, first(waiting));
      multiply(1, second(waiting));
    });
  }

  void panels() const {
    const Tasks tasks(M, N, static_cast<int>(workers));
    const int64_t stride = tasks.panels * kPanel;
    const int64_t workspace = aligned(std::max(workspaceSize<U>(tasks.rows, tasks.panels, factors[0].K),
                                               workspaceSize<U>(tasks.rows, tasks.panels, factors[1].K)));
    const auto packedSize = [&](int i) { return inPlace<T, U>(false, factors[i].K) ? 0 : M * unitCount<U>(factors[i].K); };
    const Memory memory = memoryFor(workspace + tasks.rows * stride, packedSize(0), packedSize(1));
    Left lefts[2];
    for (int i : {0, 1}) {
      const auto& [left, right, K] = factors[i];
      const bool packed = packedSize(i) > 0;
      if (packed) packLeft<T, U>(call, left, false, M, K, memory.pieces[i]);
      lefts[i] = leftRows<U>(packed ? memory.pieces[i] : left.data,
                             packed ? unitCount<U>(K) * 4 : left.rowStride * static_cast<int64_t>(sizeof(T)));
    }
    call.parallelFor(tasks.count(), [&](int64_t task, int worker) {
      const Part part = tasks.part(task, M, N);
      float* const own = memory.of(worker);
      const Waiting waiting{own + workspace, part.rowFrom, part.panelFrom * kPanel, stride};
      const auto multiply = [&](int i, auto&& emit) {
        const auto& [left, right, K] = factors[i];
        multiplyPart<U>(lefts[i], Right<T>{right.template as<T>(), right.rowStride, transposed}, part, N, K, own, emit);
      };
      multiply(0, first(waiting));
      multiply(1, second(waiting));
    });
  }

  void run() const {
    if (M == 0 || N == 0) return;
    if (transposed && M <= kTurnedRows) whileReading();
    else if (transposed && M <= kFewRows) fewRows();
    else panels();
  }
};
}  // namespace

void matmul_low_rank(const Call& call) {
  withFloat(call[0].dtype,
            [&](auto t) { withFloat(call[4].dtype, [&](auto c) { LowRank<decltype(t), decltype(c)>(call).run(); }); });
}

}  // namespace cd::cpu

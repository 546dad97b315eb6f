#include "cuda_backward.h"

#include "../common/dispatch.h"
#include "cuda_heads.h"
#include "cuda_hopper_backward.h"

namespace cd::cuda {
using namespace attend;

namespace {
template <class T>
void backward(const Call& call) {
  const Tensor &q = call[0], &k = call[1], &cuSeqlens = call[3], &o = call[4], &dOut = call[6];
  const int64_t tokens = q.shape[0], H = q.shape[1], D = q.shape[2], groups = k.shape[1], documents = cuSeqlens.shape[0] - 1;
  if (groups == 0) return;
  const int heads = static_cast<int>(H / groups), count = static_cast<int>(documents);
  const bool tiles = takesTiles(call, {0, 1, 2, 6, 7, 8, 9}), hopper = tiles && call.attribute(0) > 0 && hopperKernels();
  const int64_t sumWords = hopper ? querySumWords(tokens, H, D) : 0;
  int32_t* const memory = call.scratch<int32_t>(sumWords + 2 * (documents + 2) + tokens * H);
  int32_t *const queryPieces = memory + sumWords, *const keyPieces = queryPieces + documents + 2;
  float* const delta = reinterpret_cast<float*>(keyPieces + documents + 2);
  const int32_t* bounds = cuSeqlens.as<int32_t>();
  const Backward<T> a{{bounds, nullptr, queryPieces, count, heads},
                      {bounds, nullptr, keyPieces, count, 1},
                      HeadRows<const T>(q),
                      HeadRows<const T>(k),
                      HeadRows<const T>(call[2]),
                      HeadRows<const T>(dOut),
                      HeadRows<T>(call[7]),
                      HeadRows<T>(call[8]),
                      HeadRows<T>(call[9]),
                      call[5].as<float>(),
                      delta,
                      static_cast<float>(call.attribute(0)),
                      static_cast<int>(call.attribute(1)),
                      static_cast<int>(H),
                      static_cast<int>(groups)};
  const int queryRows = tiles ? kTile : kBackwardWarps;
  int keyRows = queryRows;
  if (hopper) withHeadSize(D, [&](auto size) { keyRows = HopperBackward<size()>::kKeys; });
  const auto number = [&](const Documents& all, int rows, int32_t* pieces) {
    launch(call, 1, kNumberThreads, 0, numberPieces, all, tokens, 0, rows, 1, pieces, FailureReport(call));
  };
  number(a.keyPieces, keyRows, keyPieces);
  if (!hopper) number(a.queryPieces, queryRows, queryPieces);
  if (q.elements() == 0) return;
  launch(call, static_cast<unsigned>(ceilDiv(tokens * H, kBackwardWarps)), kBackwardThreads, 0, sumOutputs<T>, a.dOut,
         HeadRows<const T>(o), delta, tokens * H, static_cast<int>(D));
  const dim3 queryGrid(mostPieces(tokens, heads, documents, queryRows), static_cast<unsigned>(groups));
  const dim3 keyGrid(mostPieces(tokens, 1, documents, keyRows), static_cast<unsigned>(groups));
  if constexpr (std::is_same_v<T, BFloat16>) {
    if (tiles)
      return withHeadSize(D, [&](auto size) {
        if (hopper) return launchHopperBackward<size()>(call, a, memory);
        constexpr int kColumns = size() < 128 ? size() : 128;
        launch(call, dim3(queryGrid.x, queryGrid.y, size() / kColumns), kBackwardThreads, sizeof(QueryTiles<size()>),
               queryGradients<size(), kColumns>, a);
        launch(call, dim3(keyGrid.x, keyGrid.y, size() / kColumns), kBackwardThreads, sizeof(KeyTiles<size()>),
               keyGradients<size(), kColumns>, a);
      });
  }
  withColumns(call, D, [&](auto columns) {
    launch(call, queryGrid, kBackwardThreads, 0, queryGradientRows<T, columns()>, a, static_cast<int>(D));
    launch(call, keyGrid, kBackwardThreads, 0, keyGradientRows<T, columns()>, a, static_cast<int>(D));
  });
}
}  // namespace

void attention_backward(const Call& call) {
  withFloat(call[0].dtype, [&](auto zero) { backward<decltype(zero)>(call); });
}

}  // namespace cd::cuda

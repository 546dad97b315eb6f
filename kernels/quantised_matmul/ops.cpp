#include "../../native/ops.h"
#include "../common/check.h"
#include "quantised_matmul.h"

namespace cd::ops {

namespace {
// weight and scales at `index`, firstRow and firstColumn at `attribute`, of a weight [N, K].
void expectWeight(const Call& call, int index, int attribute, int64_t N, int64_t K) {
  call.expectDType(index, {DType::FP8, DType::U8});
  call.expectRank(index, 2);
  const QuantisedWeight w = quantisedWeight(call, index, attribute);
  const bool blocks = w.form == WeightForm::Fp8Block, nibbles = w.form == WeightForm::Mxfp4;
  if (!isWhole(call.attribute(attribute), blocks ? kScaleBlock - 1 : 0))
    failAttribute(call, attribute, blocks ? "a whole number in [0, 127]" : "0 for scales that do not go by rows of blocks");
  if (!isWhole(call.attribute(attribute + 1), blocks ? kScaleBlock - 1 : nibbles ? kNibbleBlock - 1 : 0))
    failAttribute(call, attribute + 1,
                  blocks    ? "a whole number in [0, 127]"
                  : nibbles ? "a whole number in [0, 31]"
                            : "0 for one scale");
  call.expectDType(index + 1, {nibbles ? DType::U8 : DType::F32});
  const auto count = [](int64_t size, int64_t block) { return (size + block - 1) / block; };
  if (nibbles) {
    const int64_t across = count(w.firstColumn + K, kNibbleBlock);
    call.expectShape(index, {N, across * (kNibbleBlock / 2)});
    call.expectShape(index + 1, {N, across});
    return;
  }
  call.expectShape(index, {N, K});
  if (blocks) call.expectShape(index + 1, {count(w.firstRow + N, kScaleBlock), count(w.firstColumn + K, kScaleBlock)});
  else call.expectShape(index + 1, {1});
}
}  // namespace

const Op quantised_matmul{
    "quantised_matmul",
    {{"x", Access::In}, {"weight", Access::In}, {"scales", Access::In}, {"y", Access::InOut}},
    {"transposed", "accumulate", "firstRow", "firstColumn"},
    [](const Call& call) {
      for (int index : {0, 3}) {
        call.expectRank(index, 2);
        call.expectFloat(index);
      }
      for (int index : {0, 1})
        if (!isWhole(call.attribute(index), 1)) failAttribute(call, index, "0 or 1");
      const Tensor &x = call[0], &y = call[3];
      const bool transposed = call.attribute(0) != 0;
      expectWeight(call, 1, 2, (transposed ? y : x).shape[1], (transposed ? x : y).shape[1]);
      call.expectShape(3, {x.shape[0], y.shape[1]});
    },
};

const Op dequantise{
    "dequantise",
    {{"weight", Access::In}, {"scales", Access::In}, {"w", Access::Out}},
    {"firstRow", "firstColumn"},
    [](const Call& call) {
      call.expectRank(2, 2);
      call.expectFloat(2);
      expectWeight(call, 0, 0, call[2].shape[0], call[2].shape[1]);
    },
};

}  // namespace cd::ops

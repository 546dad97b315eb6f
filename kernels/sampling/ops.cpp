#include "../../native/ops.h"
#include "refusals.h"

namespace cd::ops {

namespace {
void expect(const Call& call, int index, std::initializer_list<int64_t> shape, DType dtype) {
  call.expectShape(index, shape);
  call.expectDType(index, {dtype});
  call.expectContiguous(index);
}
// Optional tensors that only make sense together.
void expectTogether(const Call& call, int first, int last) {
  for (int index = first; index <= last; ++index)
    if (call[index].present != call[first].present)
      call.fail(
          index,
          call[first].present ? std::string("come with '") + call.name(first) + "'" : "be left out like the others of its group",
          call[index].present ? shapeText(call[index]) : "nothing");
}

std::string explain(const Call& call, const Failure& failure) {
  using namespace cd::sampling;
  constexpr int kHistory = 3, kHistoryOffsets = 4, kBiasTokens = 5, kBiasOffsets = 7;
  const int index = failure.code == kHistoryOffset  ? kHistoryOffsets
                    : failure.code == kHistoryToken ? kHistory
                    : failure.code == kBiasOffset   ? kBiasOffsets
                                                    : kBiasTokens;
  const bool offset = failure.code == kHistoryOffset || failure.code == kBiasOffset;
  const std::string expected =
      offset
          ? "rise from 0 to at most " + std::to_string(call[failure.code == kHistoryOffset ? kHistory : kBiasTokens].elements())
          : "hold tokens in [0, " + std::to_string(call[0].shape[1]) + ")";
  return std::string("sample: Expected '") + call.name(index) + "' to " + expected + " but received " +
         std::to_string(failure.values[0]);
}
}  // namespace

const Op sample{
    "sample",
    {{"logits", Access::In},
     {"floats", Access::In},
     {"ints", Access::In},
     {"history", Access::In},
     {"historyOffsets", Access::In},
     {"biasTokens", Access::In, true},
     {"biasValues", Access::In, true},
     {"biasOffsets", Access::In, true},
     {"allowedMask", Access::In, true},
     {"tokens", Access::Out},
     {"logprobs", Access::Out},
     {"topTokens", Access::Out, true},
     {"topLogprobs", Access::Out, true}},
    {},
    [](const Call& call) {
      call.expectRank(0, 2);
      call.expectDType(0, {DType::F32});
      const int64_t B = call[0].shape[0], V = call[0].shape[1];
      expect(call, 1, {B, 8}, DType::F32);
      expect(call, 2, {B, 4}, DType::I32);
      call.expectRank(3, 1);
      call.expectDType(3, {DType::I32});
      expect(call, 4, {2 * B + 1}, DType::I32);
      expectTogether(call, 5, 7);
      if (call[5].present) {
        call.expectRank(5, 1);
        call.expectDType(5, {DType::I32});
        expect(call, 6, {call[5].shape[0]}, DType::F32);
        expect(call, 7, {B + 1}, DType::I32);
      }
      if (call[8].present) expect(call, 8, {B, (V + 31) / 32}, DType::I32);
      expect(call, 9, {B}, DType::I32);
      expect(call, 10, {B}, DType::F32);
      expectTogether(call, 11, 12);
      if (call[11].present) {
        call.expectRank(11, 2);
        expect(call, 11, {B, call[11].shape[1]}, DType::I32);
        expect(call, 12, {B, call[11].shape[1]}, DType::F32);
      }
    },
    explain,
};

const Op take_sampled{
    "take_sampled",
    {{"ids", Access::In}, {"sampled", Access::In}, {"y", Access::Out}},
    {},
    [](const Call& call) {
      for (int index : {0, 1}) call.expectRank(index, 1);
      for (int index : {0, 1}) expect(call, index, {call[index].shape[0]}, DType::I32);
      expect(call, 2, {call[0].shape[0]}, DType::I32);
    },
    [](const Call& call, const Failure& failure) {
      return "take_sampled: Expected 'ids' to be at least " + std::to_string(-call[1].shape[0]) + " but received " +
             std::to_string(failure.values[0]) + " at index " + std::to_string(failure.values[1]);
    },
};

}  // namespace cd::ops

#include "../../native/ops.h"
#include "../common/check.h"
#include "../rotary/check.h"
#include "refusals.h"

namespace cd::ops {

namespace {
// q [T,H,D] at `query`; keys and values [.., G, D] at `key` and key + 1.
void checkHeads(const Call& call, int query, int key, int rank) {
  call.expectRank(query, 3);
  call.expectFloat(query);
  call.expectRank(key, rank);
  const int64_t heads = call[query].shape[1], groups = call[key].shape[rank - 2];
  if (groups == 0 ? heads != 0 : heads % groups != 0)
    call.fail(query, "have a multiple of the " + std::to_string(groups) + " heads of '" + call.name(key) + "'",
              std::to_string(heads));
  if (call[key].shape[rank - 1] != call[query].shape[2])
    call.fail(key, "have head size " + std::to_string(call[query].shape[2]), std::to_string(call[key].shape[rank - 1]));
  call.expectSameShape(key + 1, key);
  call.expectSameDType(key + 1, key);
}

// A cache holds what the dtype of tensor `other` holds, or fp8.
void checkCacheDType(const Call& call, int index, int other) {
  if (call[index].dtype != DType::FP8 && call[index].dtype != call[other].dtype)
    call.fail(index, std::string("have the dtype of '") + call.name(other) + "', " + dtypeName(call[other].dtype) + ", or be fp8",
              dtypeName(call[index].dtype));
}

void checkInts(const Call& call, int index, int rank) {
  call.expectRank(index, rank);
  call.expectDType(index, {DType::I32});
  call.expectContiguous(index);
}

void checkBounds(const Call& call, int index) {
  checkInts(call, index, 1);
  if (call[index].shape[0] < 1) call.fail(index, "have at least one element", shapeText(call[index]));
}

void checkSinks(const Call& call, int index, int query) {
  if (!call[index].present) return;
  call.expectShape(index, {call[query].shape[1]});
  call.expectDType(index, {DType::F32});
  call.expectContiguous(index);
}

void checkScaleAndWindow(const Call& call) {
  if (!(call.attribute(0) == call.attribute(0))) failAttribute(call, 0, "a number");
  if (!isWhole(call.attribute(1), 2147483647.0)) failAttribute(call, 1, "a whole number of keys, 0 for all,");
}

void checkLse(const Call& call, int index, int query) {
  call.expectShape(index, {call[query].shape[0], call[query].shape[1]});
  call.expectDType(index, {DType::F32});
  call.expectContiguous(index);
}

void expectLike(const Call& call, int index, int other) {
  call.expectSameShape(index, other);
  call.expectSameDType(index, other);
}

void expectTokens(const Call& call, int index, int64_t tokens) {
  if (call[index].shape[0] != tokens) call.fail(index, "have " + std::to_string(tokens) + " tokens", shapeText(call[index]));
}

std::string refusal(const Call& call, int index, const std::string& expected, int64_t received) {
  return std::string(call.op->name) + ": Expected '" + call.name(index) + "' to " + expected + " but received " +
         std::to_string(received);
}

// The places of cuSeqlens, contextLengths, blockTable, slots and the cache in the operation's list; −1 where it has none.
template <int Bounds, int Lengths, int Table, int Slots, int Cache>
std::string explain(const Call& call, const Failure& failure) {
  using namespace cd::attention;
  const auto value = [&](int index) { return std::to_string(failure.values[index]); };
  const int64_t received = failure.values[0];
  switch (failure.code) {
    case kStart:
      return refusal(call, Bounds, "start at 0", received);
    case kFall:
      return refusal(call, Bounds, "never fall, after " + value(1), received);
    case kEnd:
      return refusal(call, Bounds, "end at " + std::to_string(call[0].shape[0]) + " (the number of packed tokens)", received);
    case kShortContext:
      return refusal(call, Lengths, "cover the " + value(1) + " query tokens in sequence " + value(2), received);
    case kFewBlocks: {
      const int64_t size = call[Cache].shape[1], blocks = (received + size - 1) / size;
      return refusal(call, Table,
                     "have " + std::to_string(blocks) + " blocks for " + value(0) + " tokens in sequence " + value(1),
                     call[Table].shape[1]);
    }
    case kBlock:
      return refusal(
          call, Table,
          "name a block below " + std::to_string(call[Cache].shape[0]) + " at place " + value(1) + " in sequence " + value(2),
          received);
    default:
      return refusal(call, Slots,
                     "be -1 or below " + std::to_string(call[Cache].shape[0] * call[Cache].shape[1]) +
                         " (blocks times block size) for token " + value(1),
                     received);
  }
}
}  // namespace

const Op attention{
    "attention",
    {{"q", Access::In},
     {"k", Access::In},
     {"v", Access::In},
     {"cuSeqlens", Access::In},
     {"sinks", Access::In, true},
     {"o", Access::Out},
     {"lse", Access::Out}},
    {"scale", "window"},
    [](const Call& call) {
      checkHeads(call, 0, 1, 3);
      call.expectSameDType(1, 0);
      expectTokens(call, 1, call[0].shape[0]);
      checkBounds(call, 3);
      checkSinks(call, 4, 0);
      expectLike(call, 5, 0);
      checkLse(call, 6, 0);
      checkScaleAndWindow(call);
    },
    explain<3, -1, -1, -1, -1>,
};

const Op attention_backward{
    "attention_backward",
    {{"q", Access::In},
     {"k", Access::In},
     {"v", Access::In},
     {"cuSeqlens", Access::In},
     {"o", Access::In},
     {"lse", Access::In},
     {"do", Access::In},
     {"dq", Access::Out},
     {"dk", Access::Out},
     {"dv", Access::Out}},
    {"scale", "window"},
    [](const Call& call) {
      checkHeads(call, 0, 1, 3);
      call.expectSameDType(1, 0);
      expectTokens(call, 1, call[0].shape[0]);
      checkBounds(call, 3);
      expectLike(call, 4, 0);
      checkLse(call, 5, 0);
      expectLike(call, 6, 0);
      expectLike(call, 7, 0);
      expectLike(call, 8, 1);
      expectLike(call, 9, 2);
      checkScaleAndWindow(call);
    },
    explain<3, -1, -1, -1, -1>,
};

const Op kv_write{
    "kv_write",
    {{"k", Access::In},
     {"v", Access::In},
     {"slots", Access::In},
     {"keyCache", Access::InOut},
     {"valueCache", Access::InOut},
     {"cosSin", Access::In, true},
     {"q", Access::InOut, true}},
    {},
    [](const Call& call) {
      call.expectRank(0, 3);
      call.expectDType(0, {DType::F32, DType::BF16, DType::FP8});
      expectLike(call, 1, 0);
      call.expectShape(2, {call[0].shape[0]});
      checkInts(call, 2, 1);
      call.expectRank(3, 4);
      const Tensor& cache = call[3];
      call.expectShape(3, {cache.shape[0], cache.shape[1], call[0].shape[1], call[0].shape[2]});
      checkCacheDType(call, 3, 0);
      expectLike(call, 4, 3);
      if (call[5].present) {
        call.expectFloat(0);
        checkCosSin(call, 5, 0);
      }
      if (!call[6].present) return;
      if (!call[5].present) call.fail(5, "be there for '" + call.name(6) + "'", "none");
      call.expectRank(6, 3);
      call.expectShape(6, {call[0].shape[0], call[6].shape[1], call[0].shape[2]});
      call.expectSameDType(6, 0);
    },
    explain<-1, -1, -1, 2, 3>,
};

const Op paged_attention{
    "paged_attention",
    {{"q", Access::In},
     {"keyCache", Access::In},
     {"valueCache", Access::In},
     {"blockTable", Access::In},
     {"cuSeqlens", Access::In},
     {"contextLengths", Access::In},
     {"sinks", Access::In, true},
     {"o", Access::Out}},
    {"scale", "window"},
    [](const Call& call) {
      checkHeads(call, 0, 1, 4);
      checkCacheDType(call, 1, 0);
      if (call[1].shape[1] == 0) call.fail(1, "have at least one slot in a block", shapeText(call[1]));
      checkBounds(call, 4);
      const int64_t sequences = call[4].shape[0] - 1;
      call.expectRank(3, 2);
      call.expectShape(3, {sequences, call[3].shape[1]});
      call.expectDType(3, {DType::I32});
      checkInts(call, 5, 1);
      call.expectShape(5, {sequences});
      checkSinks(call, 6, 0);
      expectLike(call, 7, 0);
      checkScaleAndWindow(call);
    },
    explain<4, 5, 3, -1, 1>,
};

}  // namespace cd::ops

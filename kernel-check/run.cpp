#include "run.h"

#include <cstring>

namespace cd::check {

namespace {
constexpr uint8_t kScratchPoison = 0xff;

int64_t cols(const Argument& argument) { return argument.shape.empty() ? 1 : argument.shape.back(); }
int64_t rows(const Argument& argument) {
  int64_t rows = 1;
  for (size_t axis = 0; axis + 1 < argument.shape.size(); ++axis) rows *= argument.shape[axis];
  return rows;
}
int64_t stride(const Argument& argument) { return argument.rowStride > 0 ? argument.rowStride : cols(argument); }
int64_t span(const Argument& argument) {
  if (rows(argument) == 0 || cols(argument) == 0) return argument.offset;
  return argument.offset + (rows(argument) - 1) * stride(argument) + cols(argument);
}

void put(DType dtype, uint8_t* target, double value) {
  const auto store = [target](auto number) { std::memcpy(target, &number, sizeof(number)); };
  switch (dtype) {
    case DType::F32:
      return store(static_cast<float>(value));
    case DType::BF16:
      return store(toBFloat16(static_cast<float>(value)).bits);
    case DType::I32:
      return store(static_cast<int32_t>(value));
    case DType::FP8:  // its bits
    case DType::U8:
      return store(static_cast<uint8_t>(value));
  }
}

// One thread after another: results do not depend on how many there are.
class Serial : public Parallel {
 public:
  int workers() const override { return 1; }
  void run(int64_t count, Body body, void* state) override {
    for (int64_t task = 0; task < count; ++task) body(state, task, 0);
  }
};

class PoisonedScratch : public Scratch {
 public:
  explicit PoisonedScratch(Memory& memory) : memory_(memory) {}
  void* reserve(int64_t bytes) override {
    if (used_) throw Error("a kernel asks for scratch memory twice in one call");
    used_ = true;
    return memory_.place(std::vector<uint8_t>(static_cast<size_t>(bytes), kScratchPoison));
  }

 private:
  Memory& memory_;
  bool used_ = false;
};
}  // namespace

Images initial(const Case& one, uint8_t poison) {
  Images images;
  Random random(one.op + "/" + one.name);
  for (const Argument& argument : one.arguments) {
    std::vector<uint8_t>& storage = images.storages.emplace_back();
    if (!argument.present || argument.sameAs >= 0) continue;
    const int64_t size = dtypeSize(argument.dtype);
    storage.assign(static_cast<size_t>(span(argument) * size), poison);
    if (!argument.value) continue;
    for (int64_t row = 0; row < rows(argument); ++row)
      for (int64_t col = 0; col < cols(argument); ++col)
        put(argument.dtype, storage.data() + (argument.offset + row * stride(argument) + col) * size,
            argument.value(random, row * cols(argument) + col));
  }
  return images;
}

Outcome run(const Op& op, Kernel kernel, Accelerator* accelerator, bool hostMemory, const Case& one, const Images& before) {
  const int groups = op.groups(static_cast<int64_t>(one.arguments.size()), static_cast<int64_t>(one.attributeValues.size()));
  if (groups == 0)
    throw Error("the case has " + std::to_string(one.arguments.size()) + " tensors and " +
                std::to_string(one.attributeValues.size()) + " attributes but the operation has " +
                std::to_string(op.tensors.size()) + " and " + std::to_string(op.attributes.size()));
  Memory memory(hostMemory ? nullptr : accelerator);
  std::vector<Tensor> tensors(one.arguments.size());
  std::vector<void*> storages(one.arguments.size());
  for (size_t index = 0; index < tensors.size(); ++index) {
    const Argument& argument = one.arguments[index];
    Tensor& tensor = tensors[index];
    tensor.present = argument.present;
    if (!argument.present) continue;
    storages[index] =
        argument.sameAs >= 0 ? storages[static_cast<size_t>(argument.sameAs)] : memory.place(before.storages[index]);
    tensor.data = static_cast<uint8_t*>(storages[index]) + argument.offset * dtypeSize(argument.dtype);
    tensor.dtype = argument.dtype;
    tensor.rank = static_cast<int>(argument.shape.size());
    for (int axis = 0; axis < tensor.rank; ++axis) tensor.shape[axis] = argument.shape[static_cast<size_t>(axis)];
    tensor.rowStride = stride(argument);
  }
  Serial serial;
  PoisonedScratch scratch(memory);
  Call call{&op, tensors.data(), one.attributeValues.data()};
  call.groups = groups;
  op.check(call);
  call.parallel = &serial;
  call.scratchMemory = &scratch;
  // The count of failures first, then one place for this call's.
  std::vector<uint8_t> none(2 * sizeof(Failure));
  void* failures = accelerator ? memory.place(none) : nullptr;
  if (accelerator) {
    call.stream = accelerator->stream();
    call.failureCount = static_cast<int32_t*>(failures);
    call.failure = static_cast<Failure*>(failures) + 1;
  }

  Outcome outcome;
  if (accelerator) {
    kernel(call);
    accelerator->synchronise();
    if (const std::string lost = accelerator->lost(); !lost.empty()) throw Error(lost);
    none = memory.read(failures, none.size());
    int32_t count;
    Failure failure;
    std::memcpy(&count, none.data(), sizeof(count));
    std::memcpy(&failure, none.data() + sizeof(Failure), sizeof(failure));
    if (count != failure.claimed) throw Error("counts " + std::to_string(count) + " failures of one call");
    if (failure.claimed)
      outcome.failure = op.explain ? op.explain(call, failure) : "a failure that the operation does not explain";
  } else {
    try {
      kernel(call);
    } catch (const Error& error) {
      outcome.failure = error.what();
    }
  }
  for (size_t index = 0; index < tensors.size(); ++index)
    outcome.after.storages.push_back(memory.read(storages[index], before.storages[index].size()));
  outcome.guardsIntact = memory.guardsIntact();
  return outcome;
}

}  // namespace cd::check

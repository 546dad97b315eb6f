#include "command_reader.h"

#include "ops.h"

namespace cd {

namespace {
class Reader {
 public:
  Reader(const double* values, size_t length) : next_(values), end_(values + length) {}
  double value() {
    if (next_ == end_) throw Error("Expected a whole command but the command buffer ended");
    return *next_++;
  }
  int64_t count(int64_t limit) {
    const double number = value();
    if (!(number >= 0 && number <= static_cast<double>(limit)) || number != static_cast<double>(static_cast<int64_t>(number)))
      throw Error("Expected a whole number in [0, " + std::to_string(limit) + "] in the command buffer but received " +
                  std::to_string(number));
    return static_cast<int64_t>(number);
  }

 private:
  const double *next_, *end_;
};

void readTensor(Reader& reader, Device& device, Command& command, int index) {
  constexpr int64_t kLimit = int64_t{1} << 52;
  const TensorParameter& parameter = command.op->parameter(index);
  Tensor& tensor = command.tensors[index];
  tensor = Tensor{};
  const double handle = reader.value();
  if (handle < 0) {
    if (!parameter.optional)
      throw Error(std::string(command.op->name) + ": Expected '" + parameter.name + "' but received nothing");
    return;
  }
  const std::shared_ptr<Storage>& storage = device.storage(static_cast<int64_t>(handle));
  tensor.present = true;
  tensor.dtype = static_cast<DType>(reader.count(static_cast<int>(DType::FP8)));
  const int64_t offset = reader.count(kLimit);
  tensor.rowStride = reader.count(kLimit);
  tensor.rank = static_cast<int>(reader.count(kMaxRank));
  int64_t elements = 1;
  for (int axis = 0; axis < tensor.rank; ++axis) {
    tensor.shape[axis] = reader.count(kLimit);
    if (__builtin_mul_overflow(elements, tensor.shape[axis], &elements)) throw Error("Expected a shape that memory can hold");
  }
  int64_t span = 0;
  if (elements > 0 && (__builtin_mul_overflow(tensor.rows() - 1, tensor.rowStride, &span) || tensor.rowStride < tensor.cols()))
    throw Error(std::string(command.op->name) + ": Expected '" + parameter.name + "' to have rows that do not overlap");
  if (elements > 0) span += tensor.cols();
  const int64_t capacity = storage->bytes / dtypeSize(tensor.dtype);
  if (offset > capacity || span > capacity - offset)
    throw Error(std::string(command.op->name) + ": Expected '" + parameter.name + "' to lie within its storage of " +
                std::to_string(capacity) + " elements but received shape " + shapeText(tensor) + " from " +
                std::to_string(offset));
  tensor.data = static_cast<char*>(storage->address) + offset * dtypeSize(tensor.dtype);
  command.storages[index] = storage;
}

void expectCommunicator(const Device& device, const Command& command) {
  const size_t count = device.collectives().size();
  const double number = command.attributes[0];
  if (number >= 0 && number < static_cast<double>(count) && number == static_cast<double>(static_cast<int64_t>(number))) return;
  throw Error(std::string(command.op->name) + ": Expected 'communicator' to be one that the device has joined but received " +
              std::to_string(static_cast<int64_t>(number)));
}
}  // namespace

std::unique_ptr<Command> readCommand(Device& device, const double* buffer, size_t length) {
  Reader reader(buffer, length);
  const int64_t number = reader.count(static_cast<int64_t>(allOps().size()) - 1);
  const Op& op = *allOps()[number];
  const int64_t limit = static_cast<int64_t>(length);
  const int64_t tensors = reader.count(limit), attributes = reader.count(limit);
  const int groups = op.groups(tensors, attributes);
  if (groups == 0)
    throw Error(std::string(op.name) + ": Expected " + std::to_string(op.tensors.size()) + " tensors and " +
                std::to_string(op.attributes.size()) + " attributes but received " + std::to_string(tensors) + " and " +
                std::to_string(attributes));
  std::unique_ptr<Command> command = device.command();
  command->op = &op;
  command->number = static_cast<int>(number);
  command->kernel = device.backend().kernels[number];
  if (!command->kernel)
    throw Error(std::string(op.name) + ": the back end " + device.backend().name + " has no such kernel; use --device cpu");
  command->tensors.resize(static_cast<size_t>(tensors));
  command->storages.resize(static_cast<size_t>(tensors));
  command->attributes.resize(static_cast<size_t>(attributes));
  command->groups = groups;
  for (int index = 0; index < tensors; ++index) readTensor(reader, device, *command, index);
  for (int index = 0; index < attributes; ++index) command->attributes[index] = reader.value();
  if (op.collective) expectCommunicator(device, *command);
  Call call{&op, command->tensors.data(), command->attributes.data(), nullptr, nullptr, device.collectives().data()};
  call.groups = groups;
  op.check(call);
  return command;
}

}  // namespace cd

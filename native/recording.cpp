#include "recording.h"

#include <utility>

namespace cd {

Recording::Recording(Accelerator* accelerator, std::shared_ptr<Pool> pool) : accelerator_(accelerator), pool_(std::move(pool)) {
  ++pool_->recordings;
}

Recording::~Recording() {
  if (graph_) accelerator_->freeGraph(graph_);
  if (reports_) accelerator_->free(reports_);
}

void Recording::add(std::unique_ptr<Command> command) {
  for (const std::shared_ptr<Storage>& storage : command->storages)
    if (storage) (storage->pool == pool_ ? inside_ : outside_).insert(storage);
  if (command->op && command->op->collective) communicators_.insert(static_cast<int>(command->attributes[0]));
  places_.push_back(command->op && command->op->explain ? reportCount_++ : 0);
  commands_.push_back(std::move(command));
}

void Recording::expectLive() const {
  for (const std::shared_ptr<Storage>& storage : outside_)
    if (storage->released) throw Error("Expected the tensors that the recording uses to live but one of them was disposed");
}

void Recording::begin() {
  for (const std::shared_ptr<Storage>& storage : inside_) storage->poison.reset();
}

bool Recording::dependsOnPoison() const {
  for (const std::shared_ptr<Storage>& storage : outside_)
    if (storage->poison) return true;
  return false;
}

void Recording::capture(uint64_t scratch, const std::function<void(Command&, Failure*, int32_t*)>& launch) {
  const int64_t bytes = static_cast<int64_t>(reportCount_ * sizeof(Failure));
  if (!reports_ && reportCount_ > 1) {
    reports_ = static_cast<Failure*>(accelerator_->allocate(bytes));
    if (!reports_) throw Error("Device memory: no room for what a recording's operations report; use smaller batches");
  }
  if (graph_) accelerator_->freeGraph(std::exchange(graph_, nullptr));
  accelerator_->beginCapture();
  try {
    if (reports_) accelerator_->fill(reports_, 0, bytes);
    for (size_t index = 0; index < commands_.size(); ++index) {
      Command command(*commands_[index]);  // launching changes it
      launch(command, places_[index] ? reports_ + places_[index] : nullptr, reinterpret_cast<int32_t*>(reports_));
      if (command.poison) throw Error(*command.poison);
    }
  } catch (...) {
    accelerator_->abandonCapture();
    throw;
  }
  graph_ = accelerator_->endCapture();
  scratch_ = scratch;
}

void Recording::launch(std::vector<Failure>& failures) {
  accelerator_->launchGraph(graph_);
  if (!reports_) return;
  failures.resize(reportCount_);
  accelerator_->copyOut(failures.data(), reports_, static_cast<int64_t>(reportCount_ * sizeof(Failure)));
}

const Failure* Recording::failureOf(size_t command, const std::vector<Failure>& failures) const {
  const size_t place = places_[command];
  return place < failures.size() && place > 0 && failures[place].claimed ? &failures[place] : nullptr;
}

}  // namespace cd

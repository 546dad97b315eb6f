// Recordings: taken on the JavaScript thread, replayed on the stream's.
#include "device.h"

namespace cd {

// --- of the JavaScript thread ---------------------------------------------------------------------------------------

void Device::expectNoRecording(const char* what) const {
  if (recording_) throw Error(std::string("Expected only operations while recording but received ") + what);
}

const std::shared_ptr<Recording>& Device::recording(int64_t number) const {
  const std::shared_ptr<Recording>& found = recordings_.at(static_cast<size_t>(number));
  if (!found) throw Error("Expected a live recording but it was disposed");
  return found;
}

void Device::startRecording(int64_t sharing) {
  expectNoRecording("a second recording");
  recording_ =
      std::make_shared<Recording>(accelerator_.get(), sharing < 0 ? std::make_shared<Pool>() : recording(sharing)->pool());
  allocator_.usePool(recording_->pool());
}

int64_t Device::stopRecording() {
  if (!recording_) throw Error("Expected a recording in progress but there is none");
  allocator_.usePool(nullptr);
  recordings_.push_back(std::move(recording_));
  recording_ = nullptr;
  return static_cast<int64_t>(recordings_.size()) - 1;
}

void Device::replay(int64_t number) {
  expectNoRecording("a replay");
  recording(number)->expectLive();
  std::unique_ptr<Command> command = this->command();
  command->replayed = recording(number);
  enqueue(std::move(command));
}

void Device::releaseRecording(int64_t number) {
  std::shared_ptr<Recording>& held = recordings_.at(static_cast<size_t>(number));
  if (!held) return;
  allocator_.leave(*held->pool());  // replays that are still queued come before the memory's next owners
  // Its graph goes when the stream is past the last of them.
  enqueueJob(nullptr, [held = std::move(held)](void*) {}, nullptr);
  held = nullptr;
}

// --- of the stream's thread -------------------------------------------------------------------------------------------

// Copies run: a command is changed by running, and the next replay wants it as it was.
void Device::replayHere(Recording& recording) {
  recording.begin();
  for (const std::unique_ptr<Command>& recorded : recording.commands()) {
    Command command(*recorded);
    launch(command, nullptr, nullptr);
    retire(command, nullptr);
  }
}

// On an accelerator, the first time: whatever an operation needs besides the stream (its kernel loaded, scratch memory, a
// library's choice of algorithm) is there afterwards, and a graph can be made.
void Device::launchStepwise(std::unique_ptr<Command> replay) {
  const std::shared_ptr<Recording> recording = replay->replayed;
  enqueued_.fetch_add(static_cast<int64_t>(recording->commands().size()), std::memory_order_relaxed);
  replay->stepwise = true;
  launchAhead(std::move(replay));
  bool complete = true;
  for (const std::unique_ptr<Command>& recorded : recording->commands()) {
    launchAhead(std::make_unique<Command>(*recorded));
    complete = complete && !lost_ && !launched_.back()->poison;
  }
  // Where operations are timed or waited for one by one there are no graphs.
  recording->isWarm = complete && !profile_ && !debug_;
}

void Device::launchGraph(Command& replay) {
  Recording& recording = *replay.replayed;
  try {
    if (!recording.isReady(scratch_.generation()))
      recording.capture(scratch_.generation(), [this](Command& command, Failure* failure, int32_t* failureCount) {
        if (command.op) launchKernel(command, failure, failureCount, true);
        else launch(command, failure, failureCount);
      });
    recording.launch(replay.failures);
    ++graphReplays_;
    for (const std::unique_ptr<Command>& command : recording.commands())
      if (command->op) costs_[command->number].calls.fetch_add(1, std::memory_order_relaxed);
  } catch (const std::exception& error) {
    replay.poison =
        std::make_shared<const std::string>(std::string("Replaying recorded operations as a graph failed: ") + error.what());
  }
}

void Device::retireReplay(const Command& replay) {
  Recording& recording = *replay.replayed;
  recording.begin();
  if (replay.stepwise) return;
  const bool reported = !replay.failures.empty() && replay.failures[0].claimed != 0;  // the first one holds their count
  if (!replay.poison && !reported && !recording.dependsOnPoison()) return;
  Poison first = replay.poison;
  for (size_t index = 0; index < recording.commands().size(); ++index) {
    Command command(*recording.commands()[index]);
    command.poison = replay.poison;
    retire(command, recording.failureOf(index, replay.failures));
    if (!first) first = command.poison;
  }
  // The others wait for a word on all of it: whatever failed here, they cannot go on.
  if (first) leaveMeetings(replay, *first);
}

}  // namespace cd

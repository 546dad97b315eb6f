// Operations that are kept, to run again and again with memory of their own: a graph on an accelerator.
//
// A graph has everything at fixed addresses: tensors, since the recording's pool keeps them; the stream's scratch memory, since a
// graph is made anew when that has moved; and the places where kernels report bad data, since they are the recording's own. A
// replay brings these to the host behind it.
#pragma once

#include <set>

#include "accelerator.h"
#include "command.h"

namespace cd {

class Recording {
 public:
  Recording(Accelerator* accelerator, std::shared_ptr<Pool> pool);
  ~Recording();  // of what has a graph: on the thread that launches, when no replay of it is under way

  const std::shared_ptr<Pool>& pool() const { return pool_; }
  const std::vector<std::unique_ptr<Command>>& commands() const { return commands_; }
  const std::set<int>& communicators() const { return communicators_; }  // of its collectives, by number
  void add(std::unique_ptr<Command> command);
  void expectLive() const;  // throws Error when a tensor that it uses, and that is not its own, was disposed

  // --- of the stream's thread
  void begin();                  // its own tensors hold nothing yet: whatever befell them in an earlier replay is past
  bool dependsOnPoison() const;  // something that it uses and that is not its own was never computed

  bool isWarm = false;  // every operation has run once: kernels are loaded, scratch memory is large enough
  bool isReady(uint64_t scratch) const { return graph_ && scratch == scratch_; }
  // launch(command, failure, failureCount) for every command, as a graph; `scratch` is the generation of the scratch memory.
  void capture(uint64_t scratch, const std::function<void(Command&, Failure*, int32_t*)>& launch);
  void launch(std::vector<Failure>& failures);  // which holds what was reported when a later fence has passed
  const Failure* failureOf(size_t command, const std::vector<Failure>& failures) const;  // null: none

 private:
  Accelerator* accelerator_;
  std::shared_ptr<Pool> pool_;
  std::vector<std::unique_ptr<Command>> commands_;
  std::set<int> communicators_;
  std::vector<size_t> places_;                           // by command: 0 where it reports nothing
  std::set<std::shared_ptr<Storage>> inside_, outside_;  // what the operations use: of its pool, and of others
  void* graph_ = nullptr;
  uint64_t scratch_ = 0;
  Failure* reports_ = nullptr;  // in the accelerator's memory; the first one holds their count
  size_t reportCount_ = 1;
};

}  // namespace cd

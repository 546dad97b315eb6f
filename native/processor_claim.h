// Two threads that work on one region take turns when they share a CPU, while another CPU may idle: a scheduler can leave
// them there for a second, as both are awake all the time (seen on Linux 6.18 with two CPUs: half the speed). So whoever works
// claims the CPU that it is on, and who finds that claimed by another thread of this process moves to a free one. No thread stays
// bound.
#pragma once

namespace cd {

class ProcessorClaim {
 public:
  ~ProcessorClaim() { release(); }

  // For the thread that calls. Costs nothing but a look at the CPU's number while the thread has not been moved.
  void take();
  void release();

 private:
  static constexpr int kNone = -1;
  int cpu_ = kNone;
};

}  // namespace cd

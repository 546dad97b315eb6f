// Memory cut from segments into pieces, which are joined again when they come back: what needs less fits into what the largest
// has left. Recordings keep one to themselves as long as one of them lives, as their operations know its addresses.
#pragma once

#include <cstdint>
#include <map>
#include <utility>
#include <vector>

namespace cd {

class Pool {
 public:
  void* take(int64_t bytes);               // the smallest free piece that is large enough, or null
  void give(void* block, int64_t bytes);   // back
  void add(void* segment, int64_t bytes);  // a segment, all of it free
  // Takes out the segments of which nothing is in use: addresses and sizes.
  std::vector<std::pair<void*, int64_t>> takeIdle();

  int recordings = 0;  // that live

 private:
  std::map<char*, int64_t> segments_, free_;  // address → bytes
};

}  // namespace cd

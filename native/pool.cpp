#include "pool.h"

namespace cd {

void* Pool::take(int64_t bytes) {
  auto best = free_.end();
  for (auto piece = free_.begin(); piece != free_.end(); ++piece)
    if (piece->second >= bytes && (best == free_.end() || piece->second < best->second)) best = piece;
  if (best == free_.end()) return nullptr;
  const auto [address, size] = *best;
  free_.erase(best);
  if (size > bytes) free_[address + bytes] = size - bytes;
  return address;
}

void Pool::give(void* block, int64_t bytes) {
  const auto piece = free_.emplace(static_cast<char*>(block), bytes).first;
  const auto isJoint = [&](char* address) { return !segments_.contains(address); };  // segments may touch by chance
  const auto next = std::next(piece);
  if (next != free_.end() && piece->first + piece->second == next->first && isJoint(next->first)) {
    piece->second += next->second;
    free_.erase(next);
  }
  if (piece == free_.begin()) return;
  const auto before = std::prev(piece);
  if (before->first + before->second == piece->first && isJoint(piece->first)) {
    before->second += piece->second;
    free_.erase(piece);
  }
}

void Pool::add(void* segment, int64_t bytes) {
  segments_[static_cast<char*>(segment)] = bytes;
  give(segment, bytes);
}

std::vector<std::pair<void*, int64_t>> Pool::takeIdle() {
  std::vector<std::pair<void*, int64_t>> idle;
  for (auto segment = segments_.begin(); segment != segments_.end();) {
    const auto piece = free_.find(segment->first);
    if (piece == free_.end() || piece->second != segment->second) {
      ++segment;
      continue;
    }
    idle.emplace_back(segment->first, segment->second);
    free_.erase(piece);
    segment = segments_.erase(segment);
  }
  return idle;
}

}  // namespace cd

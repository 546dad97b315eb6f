// One launch over many tensors: a table of groups goes to the kernel as a parameter, the work of all groups is counted through in
// pieces, and a piece finds its group by halving.
#pragma once

#include "cuda.h"

namespace cd::cuda {

constexpr int kGroupsPerLaunch = 256;

// Group: what a kernel needs of one group of arguments.
template <class Group>
struct GroupTable {
  int count = 0;
  int64_t pieces = 0;
  Group group[kGroupsPerLaunch];
  int64_t firstPiece[kGroupsPerLaunch];

  void add(const Group& next, int64_t itsPieces) {
    group[count] = next;
    firstPiece[count++] = pieces;
    pieces += itsPieces;
  }
  __device__ __forceinline__ int groupOf(int64_t piece) const {
    int from = 0, to = count - 1;  // the last group that starts at or before the piece; one without pieces is passed over
    while (from < to) {
      const int middle = (from + to + 1) / 2;
      if (firstPiece[middle] <= piece) from = middle;
      else to = middle - 1;
    }
    return from;
  }
};

// describe(group) → Group, piecesOf(group); run(table) for as many groups at a time as a launch takes.
template <class Group, class Describe, class Pieces, class Run>
inline void forTables(const Call& call, Describe describe, Pieces piecesOf, Run run) {
  for (int group = 0; group < call.groups;) {
    GroupTable<Group> table;
    for (; group < call.groups && table.count < kGroupsPerLaunch; ++group) table.add(describe(group), piecesOf(group));
    run(table);
  }
}

}  // namespace cd::cuda

#include "../../native/collective.h"

#include "sum.h"

namespace cd::cpu {

namespace {
Collective& groupOf(const Call& call) { return call.collective(static_cast<int>(call.attribute(0))); }
}  // namespace

void all_reduce(const Call& call) {
  Collective& group = groupOf(call);
  const Tensor& x = call[0];
  const int64_t count = x.elements(), size = dtypeSize(x.dtype);
  char* const data = x.as<char>();
  const auto begin = [&](int rank) { return group.partBegin(count, rank); };
  // No other rank reads this one's own part before it is summed.
  const char* const* parts = group.meet({"all_reduce", Share::Scatter, x.dtype, count}, data);
  const int own = group.rank();
  sumParts(x.dtype, parts, group.size(), data + begin(own) * size, begin(own + 1) - begin(own));
  parts = group.meet({"all_reduce", Share::Gather, x.dtype, count}, data);
  for (int rank = 0; rank < group.size(); ++rank)
    placePart(data + begin(rank) * size, parts[rank], (begin(rank + 1) - begin(rank)) * size);
  group.finish();
}

void all_gather(const Call& call) {
  Collective& group = groupOf(call);
  const Tensor& x = call[0];
  const int64_t bytes = x.elements() * dtypeSize(x.dtype);
  const char* const* wholes = group.meet({"all_gather", Share::Whole, x.dtype, x.elements()}, x.data);
  for (int rank = 0; rank < group.size(); ++rank) placePart(call[1].as<char>() + rank * bytes, wholes[rank], bytes);
  group.finish();
}

void reduce_scatter(const Call& call) {
  Collective& group = groupOf(call);
  const Tensor &x = call[0], &out = call[1];
  const char* const* parts = group.meet({"reduce_scatter", Share::Scatter, x.dtype, x.elements()}, x.data);
  sumParts(x.dtype, parts, group.size(), out.data, out.elements());
  group.finish();
}

void broadcast(const Call& call) {
  Collective& group = groupOf(call);
  const Tensor& x = call[0];
  const int root = static_cast<int>(call.attribute(1));
  const char* const* wholes = group.meet({"broadcast", Share::Root, x.dtype, x.elements(), root}, x.data);
  if (group.rank() != root) placePart(x.as<char>(), wholes[root], x.elements() * dtypeSize(x.dtype));
  group.finish();
}

}  // namespace cd::cpu

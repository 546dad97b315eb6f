// What ranks of a group do together. Every rank of the communicator calls the same operations in the same order, with tensors of
// the same dtype and number of elements; a difference is an error on every rank. All tensors are contiguous.
//
// all_reduce: x becomes the sum of every rank's x.
//   x   [..] f32, bf16 or i32, overwritten
// all_gather: out is every rank's x, one behind the other in rank order.
//   x   [n, ..] any dtype; may be the very part of out that is this rank's
//   out [size·n, ..] dtype of x, overwritten
// reduce_scatter: out is this rank's part of the sum of every rank's x.
//   x   [size·n, ..] f32, bf16 or i32
//   out [n, ..] dtype of x, overwritten; may be the very part of x that is this rank's
// broadcast: x becomes the x of rank `root`.
//   x   [..] any dtype, overwritten but on that rank
//
// CPU: an element is summed over ranks 0, 1, … in that order, in f32 (i32: wrapping), and rounded once, so every rank holds the
// same bits, however the ranks are spread over processes. Each rank sums one part of the elements; in all_reduce the parts are
// gathered then. CUDA: NCCL, whose order depends on the group and not on the rank: the same bits on every rank, other ones than
// the CPU's; it rounds bf16 between ranks.

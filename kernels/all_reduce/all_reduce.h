// all_reduce: x becomes the sum of every rank's x, the same bits on every rank.
//   x [..] f32, contiguous, overwritten; every rank of the communicator calls with the same number of elements.
// Each rank sums one slice over ranks 0, 1, … in that order and writes it to all: no copy, one fixed order.

// Dropout (Srivastava et al. 2014), inverted: what is kept is scaled, so that nothing changes at inference.
//
// dropout   y[i] = x[i] / (1 − p) where uniform(i) ≥ p, else 0;  y overwritten, may be the very tensor x
//   x, y any shape or view, one float dtype; 0 ≤ p < 1. i = row·columns + col, with `columns`
//   those of the whole of which this tensor may be a rank's.
//   uniform(i) is the 24-bit uniform of draw offset + i of Philox4x32-10 with (seed, purpose, step), see common/philox.h: the
//   same mask whatever the threads, and the backward pass is this operation applied to dy. A shard passes `offset`, where it
//   begins in the whole. seed, offset: whole numbers below 2^53; purpose, step: below 2^32.
// Order: none, an element depends on its own input and index alone.

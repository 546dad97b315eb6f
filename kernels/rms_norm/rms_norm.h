// Root mean square norm (Zhang and Sennrich 2019), forward and backward. T rows of E elements.
//
// rms_norm            y[t] = x[t] · r[t] · weight,  r[t] = 1/√(mean(x[t]²) + eps)
//   x [.., E] f32|bf16, weight [E] of x's dtype → y as x (overwritten), invRms [rows] f32 (overwritten)
//   In bf16 the normalised row is rounded to bf16 before it meets the weight, as transformers does.
// add_rms_norm        the same of x = a + b:  a, b [.., E] of one dtype, weight → sum as a (overwritten), y, invRms
//   The sum is rounded to its dtype before it is normed, so that all bits are those of add and rms_norm. It may be a or b.
// rms_norm_backward   with g = dy·weight:  dx = r·(g − x·r²·mean(g·x)),  dWeight += Σ_t dy[t]·x[t]·r[t]
//   dx is overwritten; dWeight [E] f32, optional, is accumulated into. dSum as x, optional: the gradient that x has from
//   elsewhere, which dx then holds too, rounded once.
// Order: a row is summed in vectors from its start, then one tree; dWeight sums rows in blocks of 64, blocks in order.

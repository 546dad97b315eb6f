// Root mean square norm (Zhang and Sennrich 2019), forward and backward. T rows of E elements.
//
// rms_norm            y[t] = x[t] · r[t] · weight,  r[t] = 1/√(mean(x[t]²) + eps)
//   x [.., E] f32|bf16, weight [E] of x's dtype → y as x (overwritten), invRms [rows] f32 (overwritten)
//   In bf16 the normalised row is rounded to bf16 before it meets the weight, as transformers does.
// rms_norm_backward   with g = dy·weight:  dx = r·(g − x·r²·mean(g·x)),  dWeight += Σ_t dy[t]·x[t]·r[t]
//   dx is overwritten; dWeight [E] f32, optional, is accumulated into.
// Order: a row is summed in vectors from its start, then one tree; dWeight sums rows in blocks of 64, blocks in order.

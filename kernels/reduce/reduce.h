// Sums over a whole tensor, and the gradient clipping factor (torch.nn.utils.clip_grad_norm_).
//
// sum          y[1] f32 = Σ x (overwritten), x f32|bf16 of any shape or view; empty gives 0
// sum_squares  acc[1] f32 += Σ x² over any number of tensors x, f32|bf16, all of one dtype: the squares of all gradients
// clip_factor  norm[1] = √sumSquares[1], factor[1] = min(1, maxNorm / (norm + 1e-6)), both f32, overwritten;
//   maxNorm ≤ 0 means no clipping: factor 1. A norm that is not a number gives a factor that is not a number.
// Order: runs of at most 4,096 elements in f32 vectors, run sums in f64 in order, tensor after tensor; runs depend on the shape
// alone. A narrowed last dimension is summed row by row, so its last bits may differ from those of a contiguous copy.

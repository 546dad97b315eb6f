// Matrix product: c[M,N] = alpha · op(a) · op(b), or, with accumulate, c += alpha · op(a) · op(b).
//
// matmul   a [M,K], or [K,M] with transposeA; b [K,N], or [N,K] with transposeB; a and b f32|bf16, of one dtype
//          → c [M,N] f32|bf16: overwritten (and never read) without accumulate, accumulated into with it
//   attributes transposeA, transposeB, accumulate: 0 or 1; alpha: any number. Row strides are honoured. K = 0 gives 0.
//   c shares no memory with a or b.
// Order: an element is one chain of multiply-adds over K in blocks of 512 (f32) or 1024 (bf16 where the instruction set
// multiplies bf16, two neighbours at a time), the blocks' f32 sums added in order, then times alpha, then plus c, then
// rounded to c's dtype. It is the same for every M, N, layout and thread count.

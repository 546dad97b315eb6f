// Matrix product: c[M,N] = alpha · op(a) · op(b), or, with accumulate, c += alpha · op(a) · op(b).
//
// matmul   a [M,K], or [K,M] with transposeA; b [K,N], or [N,K] with transposeB; a and b f32|bf16, of one dtype
//          → c [M,N] f32|bf16: overwritten (and never read) without accumulate, accumulated into with it
//   attributes transposeA, transposeB, accumulate: 0 or 1; alpha: any number. Row strides are honoured. K = 0 gives 0.
//   c shares no memory with what is multiplied.
//
// matmul_low_rank   the same with a second product of low rank beside it, as an adapter is: c = a · op(b) + alpha · inner ·
// op(outer)
//   a [M,K]; b [K,N], or [N,K] with transposeB; inner [M,R]; outer [R,N], or [N,R] with transposeB; a to outer of one dtype → c
//   as above. Both are summed in f32 and rounded once: on the CPU to the bits of two products into f32, the first one
//   (accumulated into c where that is asked for), then the second. attributes transposeB, accumulate, alpha as above; packed: 1
//   where rows are tokens of packed documents, as in training, for which CUDA may take kernels with tiles of many rows. The
//   caller says so, not the number of rows: what an engine computes for a row must not depend on how many it has. Without meaning
//   on the CPU.
//
// Order: an element is one chain of multiply-adds over K in blocks of 512 (f32) or 1024 (bf16 where the instruction set
// multiplies bf16, two neighbours at a time), the blocks' f32 sums added in order, then times alpha, then plus c, then
// rounded to c's dtype. It is the same for every M, N, layout and thread count.

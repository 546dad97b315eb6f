// AdamW (Loshchilov and Hutter 2019), with f32 state and with 8-bit state. One step of any number of parameters.
//
// For all: learningRate [1] f32; step [1] i32, ≥ 1, the bias correction counts from it; gradientFactor [1] f32, optional,
// multiplies every g first (the clipping factor stays on the device). These are read when the operation runs, so a recorded
// step goes on with what is written to them.
// For each parameter, a group: p any shape, f32 or bf16 as all p of the call (in place); g as many elements, f32; m, v or codes;
// low as many elements, bf16, optional, receives the new f32 p rounded (overwritten). All contiguous. Attributes of a group:
// purpose, and first, a multiple of 256: p may be a slice of a larger parameter, from that element on. A p of bf16 is its own
// master, so small updates must not vanish: p is computed in f32 as ever and rounded at random to one of its two neighbours, with
// probabilities that make the expectation exact (Gupta et al., "Deep learning with limited numerical precision", ICML 2015).
// Element i takes the upper 16 bits w of Philox word first + i of (seed, purpose, step), as in common/philox.h: the new bits are
// (bits of the f32 value + w) >> 16, the value itself where it is not finite. `low` is then left out; for an f32 p seed, purpose
// and first do not matter.
//
// adamw        torch.optim.AdamW: p *= 1 − lr·wd;  m += (1 − β1)(g − m);  v = β2·v + (1 − β2)·g²;
//              p −= lr/(1 − β1^step) · m / (√v / √(1 − β2^step) + eps).     m, v like p, f32, in place
// adamw_8bit   bitsandbytes' block-wise AdamW (Dettmers et al. 2022): m and v are kept as one byte an element, a code of the
//              maps in dynamic_map.h, times the largest magnitude of their block of 256 elements. Each step decodes them,
//              m = β1·m + (1 − β1)·g, v = β2·v + (1 − β2)·g², uses these unrounded values for
//              p −= lr·√(1 − β2^step)/(1 − β1^step) · m / (√v + √(1 − β2^step)·eps),  then p *= 1 − lr·wd,
//              and encodes them to the nearest code of m / max|m|, v / max v; a negative m that would become 0 takes the code
//              below. Where g is not finite, p is left alone and m and v become 0, as in bitsandbytes.
//   mCodes, vCodes u8 like p; mAbsmax, vAbsmax f32 [⌈n/256⌉] (in place). A fresh state has absmax 0 (codes may be anything).
// Order: none, an element depends on its own inputs alone (8-bit: on those of its block), never on what else the call updates.

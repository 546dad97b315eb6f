// The gated activation of SwiGLU (Shazeer 2020), forward and backward. All tensors share shape and dtype (f32|bf16);
// gate and up, or dGate and dUp, may be the two halves of one tensor, narrowed along the last dimension.
//
// silu_mul            y = silu(gate)·up,  silu(x) = x·σ(x) = x / (1 + e^−x);  y overwritten
// silu_mul_backward   dUp = dy·silu(gate),  dGate = dy·up·σ·(1 + gate·(1 − σ)) with σ = σ(gate);  both overwritten;
//   dGate and dUp may be the very tensors gate and up.
// Computed in f32 and rounded once at the end. Order: none, an element depends on its own inputs alone.

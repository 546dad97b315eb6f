// Elementwise operations on tensors of one shape, any rank, any views (narrowed first or last dimension).
//
// fill   y = value (overwritten), one or more tensors (groups) of one dtype, any of them; i32 and u8 take the whole part, which
// must be in range; fp8 the nearest of its
//        numbers, at most ±448
// copy   y = x (overwritten): f32 ↔ bf16 converts (round to nearest even), otherwise both have one dtype
// add    y = a + scale·b in f32 (one rounding of the product-sum); y has a's dtype, b may be of the other float dtype
// scale  y = value·x;  mul  y = a·b;  both in f32, float tensors of one dtype
// exp    y = eˣ in f32, to 2 ulp; 0 and ∞ beyond its range, NaN of NaN; float tensors of one dtype
//   y is overwritten and may be the very tensor a, b or x (not a shifted overlap).
// Order: none, an element depends on its own inputs alone.

// Rotary position embedding (Su et al. 2021), half layout (GPT-NeoX, Llama): dimension j turns with dimension j + R/2.
//
// rotary_table   cosSin[t] = attentionFactor · [cos(angle[0]) … cos(angle[R/2−1]), sin(angle[0]) … sin(angle[R/2−1])]
//   positions [T] i32, inverseFrequencies [R/2] f32 → cosSin [T, R] f32 (overwritten)
//   angle[j] = float(position)·inverseFrequency[j] rounded to f32, as transformers does; cosine and sine of that angle are
//   computed in f64 and rounded, so they are right to half an ulp at any position.
// rotary         y1 = x1·cos − d·x2·sin,  y2 = x2·cos + d·x1·sin  with (x1, x2) = dimensions (j, j + R/2), d = direction
//   x [T, H, D] f32|bf16, cosSin [T, R] f32 with R even and ≤ D → y as x (overwritten); dimensions from R on are copied.
//   direction +1 is forward, −1 its backward (the rotation is orthogonal when attentionFactor is 1; otherwise it is the
//   transpose, which is what backward wants). y may be the very tensor x; x and y may be narrowed. f32, one rounding at the end.
// Order: none, an element depends on its own pair alone.

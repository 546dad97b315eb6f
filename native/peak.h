// What the machine itself can do, measured: the denominators of every benchmark. No kernel of this project is involved.
#pragma once

namespace cd {

// The order is that of the numbers in src/native.ts.
enum class Rate {
  F32,   // f32 multiply-adds from registers, FLOP/s, with the widest vectors the machine has
  BF16,  // bf16 dot products with f32 sums (vdpbf16ps), FLOP/s; 0 where there is no such instruction
  Copy,  // memory to memory, bytes read plus bytes written a second
  Read,  // memory to registers, bytes a second
};

// The best of several passes on `threads` threads of its own, a fraction of a second in all.
double measureRate(Rate rate, int threads);

}  // namespace cd

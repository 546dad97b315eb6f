// Causal attention over packed documents and over a paged cache. T tokens, H query heads, G key/value heads (H a multiple of
// G; head h reads key/value head h / (H/G)), D head size, B documents or sequences, N cache blocks of S slots.
//
// attention           q [T,H,D], k [T,G,D], v [T,G,D] f32|bf16, cuSeqlens i32 [B+1], sinks f32 [H] (optional)
//                     → o [T,H,D] as q (overwritten), lse f32 [T,H] (overwritten)
//   attributes scale; window: a query sees its own and the window − 1 keys before it, 0 = all.
//   cuSeqlens runs from 0 to T without falling; document b holds tokens [cuSeqlens[b], cuSeqlens[b+1]).
//   o = softmax(scale · q·kᵀ)·v within the document, keys up to the query. A sink is one more logit of the head, joined to the
//   softmax and then dropped (gpt-oss). lse = log Σ exp, sink included.
// attention_backward  q, k, v, cuSeqlens, o, lse as above, do as o → dq, dk, dv as q, k, v (overwritten)
//   P = exp(scale·q·kᵀ − lse), dv = Pᵀ·do, dS = P·(do·vᵀ − Σ do·o)·scale, dq = dS·k, dk = dSᵀ·q (Dao et al. 2022, algorithm 4).
// kv_write            k, v [T,G,D] f32|bf16|fp8, slots i32 [T] → keyCache, valueCache [N,S,G,D] of k's dtype or fp8
//   Written at slot = block·S + offset; −1 skips a token. Two tokens with one slot: either may win. To fp8 (e4m3, without a
//   scale) numbers are rounded to nearest, ties to even; beyond ±448 they become ±448, infinities too; NaN stays NaN. With cosSin
//   [T,R] (optional) keys are turned on their way, and so is q [T,H,D] (optional, in place): the bits of `rotary` of each and
//   then kv_write of what it gives, in one launch.
// paged_attention     q [T,H,D], keyCache, valueCache [N,S,G,D] of q's dtype or fp8, blockTable i32 [B,maxBlocks],
//                     cuSeqlens i32 [B+1] (query tokens), contextLengths i32 [B] (keys, these tokens included), sinks
//                     → o [T,H,D]
//   Query i of sequence b stands at position contextLength − queryLength + i. Slots past the context are never read, nor are
//   blocks that lie wholly before the first tile of 64 positions that the window reaches. On the CPU fp8 gives the bits that a
//   cache of q's dtype with the same numbers gives.
// Order: keys in tiles of 64 from the document's start; in a tile the scores are chains over D, then maximum and sum by one
// tree, probabilities (rounded to bf16 where the instruction set multiplies bf16) times values as one chain over the row's
// own keys. A query row's bits depend on its position, its q and the keys it sees: packed, chunked and one-token calls agree.
// Backward sums dq over keys and dk, dv over queries in tiles of 64, in order; heads of a group are added in order.
// On CUDA the tiles are the same, products go through tensor cores for bf16 heads of 64, 128 and 256, a head size is at most 256;
// one-token sequences of a cache are read in splits of 1024 keys, joined in order. A row's bits still depend on its position, q
// and keys alone, within one of the two kinds of call; backward makes dq along the keys and dk, dv along the rows of a group
// (on Hopper from the last queries to the first ones).
// Run-time errors: cuSeqlens, contextLengths, blockTable or slots that do not fit.

// sample        the next token of B sequences from their logits, on the device. V vocabulary, L reported alternatives.
// take_sampled  y[n] = ids[n], or sampled[−1 − ids[n]] where ids[n] is negative: puts tokens that `sample` has written into the
//               inputs of the next step, which the host could prepare without knowing them.
//   ids [N] i32, sampled [R] i32 → y [N] i32, overwritten; it may be the very tensor ids. All contiguous.
//   Where sampled is negative, the row without a token, y is 0: what comes of it is of no use, but harms nobody else.
//   An id below −R is a failure at run time that names it and its place.
//
// sample:
//
//   logits [B, V] f32, may be narrowed
//   floats [B, 8] f32: temperature, topP, minP, presencePenalty, frequencyPenalty, repetitionPenalty, 0, 0
//   ints   [B, 4] i32: topK (≤ 0: all), seed low word, seed high word, outputIndex
//   history [N] i32, historyOffsets [2B+1] i32: prompt of row b [off[2b], off[2b+1]), its output so far [off[2b+1], off[2b+2])
//   biasTokens [M] i32, biasValues [M] f32, biasOffsets [B+1] i32: optional, all or none; row b [off[b], off[b+1])
//   allowedMask [B, ⌈V/32⌉] i32, optional: bit i % 32 of word i / 32 allows token i
//   tokens [B] i32, logprobs [B] f32; topTokens [B, L] i32, topLogprobs [B, L] f32, optional, both or none. All overwritten.
//
// Steps, in vLLM's order, each row by itself:
//   1. logits += bias; a token that the mask does not allow has no chance
//   2. tokens of prompt or output: logit ÷ repetitionPenalty if positive, else × repetitionPenalty
//   3. tokens of the output: − frequencyPenalty · occurrences − presencePenalty
//   4. temperature ≤ 0: the largest logit, the lowest id among equals, and the row is done. Otherwise logits / temperature
//   5. top-k: the k first in the order of falling logit, then rising id
//   6. top-p: of these, in the same order, the shortest run whose share of their probability is at least topP (≥ 1: all)
//   7. min-p: of these, those at least minP times as probable as the best
//   8. the inverse distribution function over the kept tokens in the order of their ids, at the 53-bit uniform made of words 0
//      and 1 of Philox block 0 for (seed, purpose 'sample', step = outputIndex): the choice depends on the kept set alone
//
// logprobs and topLogprobs are log-softmax of the raw logits, with common/log_sum_exp.h: the bits of `token_logprobs`. Top
// tokens come in falling order, lowest id first among equals; where V < L the rest is −1 with −∞.
//
// A row with a logit that is NaN or +∞, or with none above −∞, gets token −1, logprob NaN and top tokens −1 with NaN; a row
// where nothing is allowed gets token −1 and logprob NaN. Offsets or tokens outside their range are a failure at run time; the
// history is looked at only where a row has penalties.
//
// Order: the vocabulary in tiles of 512 from its start, tile sums in f64 in order. On CUDA probabilities are whole numbers of
// 2⁻⁴⁰ of the best one's, so sums have no order, and a token below that has no chance.

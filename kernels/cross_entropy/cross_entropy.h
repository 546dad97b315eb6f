// Log-probabilities of given tokens and the cross-entropy, straight from hidden states and the output weight: the logits
// hidden·weightᵀ exist for a few hundred tokens at a time. T tokens, E hidden size, V vocabulary. nll = lse − logit[target]
// (Wijmans et al. 2024, "Cut your losses in large-vocabulary language models", without its filter).
//
// token_logprobs           hidden [T,E], weight [V,E] f32|bf16, targets i32 [T] → logprobs f32 [T], lse f32 [T] (overwritten)
//   A target of −1 skips the token: logprob 0 and lse 0. Where the weight is a part of the vocabulary, −2 is a target that is not
//   in it: lse is that of the part, logprob −∞.
// token_logprobs_backward  hidden, weight, targets, lse as above, upstream f32 [T] → dHidden [T,E] as hidden (overwritten),
//                          dWeight f32 [V,E] (optional, accumulated into)
//   with d = upstream · (1[target] − softmax):  dHidden = d·weight, dWeight += dᵀ·hidden. With a part of the vocabulary, and the
//   lse of the whole, these are the part's share of dHidden and its rows of dWeight.
// merge_logprobs           targets i32 [T] in the whole vocabulary, parts f32 [N,2,T]: logprobs and lse of each of N parts, in
// order
//                          → logprobs f32 [T], lse f32 [T] of the whole (overwritten)
//   Part n of `vocabulary` rows begins at ⌊n · vocabulary / N⌋. The log-sum-exp is merged in the order of the parts.
// linear_cross_entropy     hidden, weight, targets, tokenWeights f32 [T] → loss f32 [T] = tokenWeight · nll (overwritten), and
//                          the gradients of Σ loss: dHidden (overwritten), dWeight (optional, accumulated into)
//   A token with weight 0 or target −1 has loss 0 and gradient 0 and costs nothing.
// Order: logits are those of matmul, bit for bit; the log-sum-exp is that of common/log_sum_exp.h. d is rounded to bf16 where
// the instruction set multiplies bf16. dHidden sums over the vocabulary in blocks of 512, in order; dWeight adds chunks of
// 256 counted tokens in order.
// On CUDA chunks are 1024 tokens, counted or not (one that does not count costs the same there); log-sum-exp is that of
// common/cuda_log_sum_exp.h. On Hopper (cuda_hopper.h, bf16) chunks are 4096 tokens, and the log-sum-exp is merged from tiles of
// 256 words; scratch memory is 2 bytes for each token of a chunk and word where there are gradients, none of that size otherwise.
// Run-time error: a target outside [−1, V), and below −2 where that is allowed.

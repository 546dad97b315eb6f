/** What a researcher's objective is made of: every differentiable operation, and what a new one would need. */
export { checkpoint } from '../tensor/checkpoint.js';
export { launch } from '../tensor/launch.js';
export { record } from '../tensor/tape.js';
export { Tensor } from '../tensor/tensor.js';
export { attention } from './attention.js';
export { logits, tokenLogprobs } from './cross_entropy.js';
export { add, cast, exp, mul, scale } from './elementwise.js';
export { embedding } from './embedding.js';
export { logSoftmax } from './log_softmax.js';
export { addBias, linear } from './matmul.js';
export { sum } from './reduce.js';
export { reshape } from './reshape.js';
export { addRmsNorm, rmsNorm } from './rms_norm.js';
export { rotary } from './rotary.js';
export { siluMul } from './silu_mul.js';

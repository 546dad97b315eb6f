/**
 * Log-probabilities of given tokens, by the packed forward pass that training uses.
 */
import type { CausalLM } from '../nn/model.js';
import { tokenLogprobs } from '../ops/cross_entropy.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/**
 * The log-probability of every token given those before it; null for a document's first token, which has none before it.
 * Documents share one forward pass; by the numeric contract a document's figures do not depend on its neighbours.
 *
 * @param documents token ids in [0, V), none empty and none longer than the model's context
 */
export async function scoreDocuments(
  model: CausalLM,
  documents: readonly (readonly number[])[],
): Promise<(number | null)[][]> {
  const starts = [0];
  for (const document of documents) starts.push(starts.at(-1)! + document.length);
  const logprobs = scope(() => {
    const { device } = model;
    const upload = (values: readonly number[]): Tensor => Tensor.from(device, Int32Array.from(values));
    const tokens = upload(documents.flat());
    const positions = upload(documents.flatMap((document) => document.map((_, position) => position)));
    const targets = upload(documents.flatMap((document) => [...document.slice(1), -1]));
    const cuSeqlens = upload(starts);
    const hidden = model.forward({ kind: 'packed', tokens, positions, cuSeqlens });
    return tokenLogprobs(hidden, model.outputWeight, targets).logprobs;
  });
  try {
    const values = await logprobs.read();
    return documents.map((document, b) => [null, ...values.subarray(starts[b]!, starts[b]! + document.length - 1)]);
  } finally {
    logprobs.dispose();
  }
}

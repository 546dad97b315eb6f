// The rows that are held out of training, and the loss on them.

import { hashToInteger } from '../data/draws.js';
import type { Communicator } from '../distributed/communicator.js';
import { UserError } from '../errors.js';
import type { CausalLM } from '../nn/model.js';
import { tokenLogprobs } from '../ops/cross_entropy.js';
import { launch } from '../tensor/launch.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import { assembleBatch, type Pack, packDocuments, type TrainingDocument } from './packing.js';

/**
 * Holds out the given share of the documents by their ids, rounded: those whose hash with the seed is lowest. Neither order
 * nor other rows decide on which side a row's hash lies, and rows of one id are never on both sides.
 * @param fraction 0 … 1 of the ids; a share below half a row holds out nothing
 */
export function splitDocuments(
  documents: readonly TrainingDocument[],
  fraction: number,
  seed: number,
): { training: readonly TrainingDocument[]; validation: readonly TrainingDocument[] } {
  const ids = [...new Set(documents.map(({ id }) => id))];
  const order = new Map(ids.map((id) => [id, hashToInteger('validation', seed, id)]));
  const chosen = ids.sort((a, b) => order.get(a)! - order.get(b)!).slice(0, Math.round(fraction * ids.length));
  if (ids.length > 0 && chosen.length === ids.length) {
    throw new UserError(
      `Expected 'validationSplit' to leave rows to train on but ${fraction} holds out every one of ${ids.length}; lower it`,
    );
  }
  const held = new Set(chosen);
  const validation = documents.filter(({ id }) => held.has(id));
  return { training: documents.filter(({ id }) => !held.has(id)), validation };
}

/** The loss on a fixed set of documents. Reads the model alone: no tape, no dropout, no gradient, no random number of training. */
export class Validation {
  readonly #documents: readonly TrainingDocument[];
  readonly #packs: readonly Pack[];
  readonly #trained: number;

  /** @param sequenceLength tokens that go through the model together; every document must fit */
  constructor(documents: readonly TrainingDocument[], sequenceLength: number) {
    const { packs, trained } = packDocuments(documents, sequenceLength, 0, 0);
    this.#documents = documents;
    this.#packs = packs;
    this.#trained = trained;
  }

  /**
   * Mean negative log-likelihood of all targets, in nats. Every rank calls it, takes its share of the packs and receives the sum.
   * @throws {UserError} when it is not finite
   */
  async loss(model: CausalLM, communicator: Communicator | null): Promise<number> {
    using total = Tensor.zeros(model.device, [1]);
    for (const [index, pack] of this.#packs.entries()) {
      if (communicator && index % communicator.size !== communicator.rank) continue;
      scope(() => launch('add', [total, this.#share(model, pack), total], [-1 / this.#trained]));
    }
    communicator?.allReduce(total);
    const [loss = Number.NaN] = await total.readFloats();
    if (!Number.isFinite(loss))
      throw new UserError(`Validation loss is ${loss}; lower 'learningRate' or look at the data`);
    return loss;
  }

  /** Sum of the log-probabilities of a pack's targets, f32 [1]. */
  #share(model: CausalLM, pack: Pack): Tensor {
    const batch = assembleBatch(pack.documents.map((index) => this.#documents[index]!));
    const upload = (data: Int32Array) => Tensor.from(model.device, data);
    const hidden = model.forward({
      kind: 'packed',
      tokens: upload(batch.tokens),
      positions: upload(batch.positions),
      cuSeqlens: upload(batch.cuSeqlens),
    });
    const { logprobs } = tokenLogprobs(hidden, model.outputWeight, upload(batch.targets));
    const sum = Tensor.empty(model.device, [1]);
    launch('sum', [logprobs, sum]);
    return sum;
  }
}

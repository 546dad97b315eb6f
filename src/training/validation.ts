// The rows that are held out of training, and the loss on them.

import type { Communicator } from '../distributed/communicator.js';
import { UserError } from '../errors.js';
import type { CausalLM } from '../nn/model.js';
import { tokenLogprobs } from '../ops/cross_entropy.js';
import { launch } from '../tensor/launch.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { Documents } from './documents.js';
import { assembleBatch, type Pack, type PackingPlan, packDocuments } from './packing.js';
import { Pauses } from './pauses.js';
import { Purpose, philox4x32 } from './philox.js';

/**
 * Holds out the given share of the documents by their ids, rounded: those whose hash with the seed is lowest. Neither order
 * nor other rows decide on which side a row's hash lies, and rows of one id are never on both sides.
 * @param fraction 0 … 1 of the ids; a share below half a row holds out nothing
 */
export async function splitDocuments<D extends Omit<Documents, 'subset'> & { subset(indices: Uint32Array): D }>(
  documents: D,
  fraction: number,
  seed: number,
): Promise<{ training: D; validation: D }> {
  const pauses = new Pauses();
  const draws = new Float64Array(documents.count);
  const distinct = new Set<number>();
  for (let index = 0; index < draws.length; ++index) {
    draws[index] = draw(seed, documents.identities[index]!);
    distinct.add(draws[index]!);
    if (index % 256 === 0 && pauses.due()) await pauses.turn();
  }
  const chosen = Math.round(fraction * distinct.size);
  if (distinct.size > 0 && chosen === distinct.size) {
    throw new UserError(
      `Expected 'validationSplit' to leave rows to train on but ${fraction} holds out every one of ${distinct.size}; lower it`,
    );
  }
  const limit = await lowest(distinct, chosen, pauses);
  const indices = Uint32Array.from(draws.keys());
  return {
    training: documents.subset(indices.filter((index) => draws[index]! >= limit)),
    validation: documents.subset(indices.filter((index) => draws[index]! < limit)),
  };
}

/** A number of 48 random bits for an identity. */
function draw(seed: number, identity: number): number {
  const [low, high] = [identity % 2 ** 32, Math.floor(identity / 2 ** 32)];
  const [upper, lower] = philox4x32([low, high, 0, Purpose.validation], [seed >>> 0, Math.floor(seed / 2 ** 32)]);
  return upper * 2 ** 16 + (lower & 0xffff);
}

/** The number below which exactly `count` of the draws lie. Sorts only those near it: a sort of millions takes too long at a stretch. */
async function lowest(draws: ReadonlySet<number>, count: number, pauses: Pauses): Promise<number> {
  const bucketOf = (value: number) => Math.floor(value / 2 ** 32);
  const sizes = new Uint32Array(2 ** 16 + 1);
  for (const value of draws) ++sizes[bucketOf(value)]!;
  let bucket = 0;
  let below = 0;
  while (below + sizes[bucket]! <= count && bucket < 2 ** 16) below += sizes[bucket++]!;
  await pauses.turn();
  const near = Float64Array.from([...draws].filter((value) => bucketOf(value) === bucket)).sort();
  return near[count - below] ?? Number.POSITIVE_INFINITY;
}

/** The loss on a fixed set of documents. Reads the model alone: no tape, no dropout, no gradient, no random number of training. */
export class Validation {
  readonly #documents: Documents;
  readonly #packing: PackingPlan;

  /** @param sequenceLength tokens that go through the model together; every document must fit */
  static async create(documents: Documents, sequenceLength: number): Promise<Validation> {
    return new Validation(documents, await packDocuments(documents, sequenceLength, 0, 0));
  }

  private constructor(documents: Documents, packing: PackingPlan) {
    this.#documents = documents;
    this.#packing = packing;
  }

  /**
   * Mean negative log-likelihood of all targets, in nats. Every rank calls it, takes its share of the packs and receives the sum.
   * @throws {UserError} when it is not finite
   */
  async loss(model: CausalLM, communicator: Communicator | null): Promise<number> {
    using total = Tensor.zeros(model.device, [1]);
    const { count, trained } = this.#packing;
    for (let index = communicator?.rank ?? 0; index < count; index += communicator?.size ?? 1) {
      const pack = this.#packing.pack(index);
      scope(() => launch('add', [total, this.#share(model, pack), total], [-1 / trained]));
    }
    communicator?.allReduce(total);
    const [loss = Number.NaN] = await total.readFloats();
    if (!Number.isFinite(loss))
      throw new UserError(`Validation loss is ${loss}; lower 'learningRate' or look at the data`);
    return loss;
  }

  /** Sum of the log-probabilities of a pack's targets, f32 [1]. */
  #share(model: CausalLM, pack: Pack): Tensor {
    const batch = assembleBatch(Array.from(pack.documents, (index) => this.#documents.at(index)));
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

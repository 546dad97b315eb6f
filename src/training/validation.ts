// The rows that are held out of training, and the loss on them.

import { UserError } from '../errors.js';
import type { CausalLM } from '../nn/model.js';
import { tokenLogprobs } from '../ops/cross_entropy.js';
import { sum } from '../ops/reduce.js';
import { launch } from '../tensor/launch.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { Documents } from './documents.js';
import type { GradientExchange, PassHooks } from './gradient_exchange.js';
import type { ValidationMetrics } from './metrics.js';
import { evaluateObjective, type LoadedObjective } from './objectives/objective.js';
import { assembleBatch, type PackingPlan, packDocuments } from './packing.js';
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
  const sides = { training: new Uint32Array(draws.length), validation: new Uint32Array(draws.length) };
  let held = 0;
  for (let index = 0; index < draws.length; ++index) {
    if (draws[index]! < limit) sides.validation[held++] = index;
    else sides.training[index - held] = index;
  }
  await pauses.turn();
  const training = documents.subset(sides.training.subarray(0, draws.length - held));
  await pauses.turn();
  return { training, validation: documents.subset(sides.validation.subarray(0, held)) };
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
  const inBucket: number[] = [];
  for (const value of draws) if (bucketOf(value) === bucket) inBucket.push(value);
  const near = Float64Array.from(inBucket).sort();
  return near[count - below] ?? Number.POSITIVE_INFINITY;
}

/**
 * Cross-entropy, and the run's own objective, on a fixed set of documents. Reads the model alone: no tape, no dropout, no gradient,
 * no random number of training.
 */
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
   * The losses on all documents. Every rank calls it, takes its share of the packs and receives the sums.
   * @throws {UserError} when one is not finite
   */
  async losses(
    model: CausalLM,
    objective: LoadedObjective,
    exchange: GradientExchange | null,
  ): Promise<Omit<ValidationMetrics, 'step'>> {
    const { count, trained } = this.#packing;
    const own = objective.name !== 'cross-entropy';
    const rows = own ? Array.from({ length: this.#documents.count }, (_, index) => this.#documents.at(index)) : [];
    using totals = Tensor.zeros(model.device, [2]);
    const add = (at: number, share: Tensor, factor: number) => {
      const total = totals.narrow(0, at, 1);
      launch('add', [total, share, total], [factor]);
    };
    const { rank, size } = exchange?.communicator ?? { rank: 0, size: 1 };
    const run = (index: number, counts: boolean, hooks?: PassHooks) => {
      const documents = Array.from(this.#packing.pack(index).documents, (number) => this.#documents.at(number));
      const packed = assembleBatch(documents);
      const upload = (data: Int32Array) => Tensor.from(model.device, data);
      const hidden = model.forward({
        kind: 'packed',
        tokens: upload(packed.tokens),
        positions: upload(packed.positions),
        cuSeqlens: upload(packed.cuSeqlens),
        ...(hooks && { layers: hooks }),
      });
      if (!counts) return;
      add(0, sum(tokenLogprobs(hidden, model.outputWeight, upload(packed.targets)).logprobs), -1 / trained);
      if (!own) return;
      const window = { trained, rows };
      add(1, evaluateObjective(objective, { model, hidden, rows: documents, packed, window }), 1);
    };
    for (let start = 0; start < count; start += size) {
      const index = start + rank;
      const counts = index < count;
      // A rank that has no pack left runs another's where it must keep step.
      if (!counts && !exchange?.lockstep) continue;
      const pass = (hooks?: PassHooks) => run(counts ? index : 0, counts, hooks);
      scope(() => (exchange ? exchange.evaluate(pass) : pass()));
    }
    exchange?.communicator.allReduce(totals);
    const [loss = Number.NaN, value = Number.NaN] = await totals.readFloats();
    const wrong = [loss, value].find((each) => !Number.isFinite(each));
    if (wrong !== undefined)
      throw new UserError(`Validation loss is ${wrong}; lower 'learningRate' or look at the data`);
    return own ? { validationLoss: loss, validationObjective: value } : { validationLoss: loss };
  }
}

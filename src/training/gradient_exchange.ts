// What ranks that train together do with their gradients while the backward pass is still at work.

import type { Communicator } from '../distributed/communicator.js';
import type { LayerHooks } from '../nn/layer_hooks.js';
import type { CausalLM } from '../nn/model.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Parameters } from './optimizer.js';

export interface PassHooks extends LayerHooks {
  /** The forward pass and the loss are enqueued; what follows is the backward pass. */
  startBackward(): void;
}

/** One forward pass, with its backward pass while training. */
export interface Pass {
  /** The last of this rank's in the window. */
  readonly last: boolean;
  /** Whether its gradients count; false: it is made for the other ranks' sake alone. */
  readonly counts: boolean;
}

export interface GradientExchange {
  readonly communicator: Communicator;
  /** Whether every pass exchanges something, so that all ranks must make equally many. */
  readonly lockstep: boolean;
  /** The ranks that hold other parts of the gradients; null: this one holds them whole. */
  readonly holders: Communicator | null;
  /** Runs a forward and backward pass, handing it the hooks that it goes by. */
  pass<R>(pass: Pass, run: (hooks: PassHooks | undefined) => R): R;
  /** Runs a forward pass that has no backward pass, handing it the hooks that it goes by. */
  evaluate<R>(run: (hooks: PassHooks | undefined) => R): R;
  /** To be called after the last pass of a window: from then on gradients are sums over all ranks. */
  finish(): void;
}

/**
 * What belongs together, in the order in which the backward pass completes its gradients: a head that is not the embeddings', the
 * layers from last to first, and the rest (embeddings, final norm).
 */
export function gradientGroups<T>(model: CausalLM, values: ReadonlyMap<string, T>): [string, T][][] {
  const { numLayers, tiedEmbeddings } = model.config;
  const groups: [string, T][][] = Array.from({ length: numLayers + 2 }, () => []);
  for (const [name, value] of values) {
    const layer = /(?:^|\.)layers\.(\d+)\./.exec(name)?.[1];
    const isHead = !tiedEmbeddings && model.weights.get(name) === model.outputWeight;
    const group = layer === undefined ? (isHead ? 0 : numLayers + 1) : numLayers - Number(layer);
    groups[group]!.push([name, value]);
  }
  return groups;
}

/**
 * Data parallelism with a whole model on each rank: in the last pass of a rank's window a layer's gradients are summed over the ranks
 * as soon as they are whole, while the layers before it are still at work. The order is the same on every rank, whatever the
 * number of its passes.
 */
export class GradientReduction implements GradientExchange, PassHooks {
  readonly communicator: Communicator;
  readonly lockstep = false;
  readonly holders = null;
  readonly #numLayers: number;
  readonly #groups: [string, Tensor][][];
  /** Groups that are summed already. */
  #done = 0;
  /** Versions of the gradients when they were summed, by name. */
  readonly #versions = new Map<string, number>();

  constructor(model: CausalLM, parameters: Parameters, communicator: Communicator) {
    this.communicator = communicator;
    this.#numLayers = model.config.numLayers;
    // Within a group, too, what comes last in the model is complete first.
    this.#groups = gradientGroups(model, parameters).map((group) => group.reverse());
  }

  pass<R>({ last }: Pass, run: (hooks: PassHooks | undefined) => R): R {
    return run(last ? this : undefined);
  }

  evaluate<R>(run: (hooks: PassHooks | undefined) => R): R {
    return run(undefined);
  }

  startBackward(): void {}
  beforeForward(): void {}
  afterForward(): void {}

  beforeBackward(layer: number): void {
    this.#reduce(this.#numLayers - layer);
  }
  afterBackward(layer: number): void {
    this.#reduce(this.#numLayers - layer + 1);
  }

  finish(): void {
    this.#reduce(this.#groups.length);
    for (const [name, parameter] of this.#groups.flat()) {
      if (parameter.grad!.version !== this.#versions.get(name))
        throw new Error(`Expected the gradient of '${name}' to be whole after its layer but more was added to it`);
    }
    this.#done = 0;
  }

  /** Sums the first `count` groups, those that are not summed yet. */
  #reduce(count: number): void {
    for (; this.#done < count; this.#done += 1) {
      for (const [name, parameter] of this.#groups[this.#done]!) {
        this.communicator.allReduce(parameter.grad!);
        this.#versions.set(name, parameter.grad!.version);
      }
    }
  }
}

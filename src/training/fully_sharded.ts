// Fully sharded data parallelism (Rajbhandari et al. 2020, ZeRO stage 3): each rank keeps a part of every weight, gradient, master
// and moment. A layer's weights are gathered one layer ahead, used, and given back; so are its gradients, once summed.

import type { Communicator } from '../distributed/communicator.js';
import type { CausalLM } from '../nn/model.js';
import type { Tensor } from '../tensor/tensor.js';
import { type GradientExchange, gradientGroups, type Pass, type PassHooks } from './gradient_exchange.js';
import type { Parameters } from './optimizer.js';
import { ShardedTensor, shardOf } from './sharded_tensor.js';

/** The parts that this rank keeps, filled while a model is loaded. */
export class Shards {
  readonly communicator: Communicator;
  readonly tensors = new Map<string, ShardedTensor>();
  /** f32 masters of bf16 weights, this rank's part; for the optimizer, which takes them over. */
  readonly masters = new Map<string, Tensor>();

  constructor(communicator: Communicator) {
    this.communicator = communicator;
  }

  /** Keeps this rank's part of a weight, and of its f32 master if it has one; the memory of both goes back. */
  add(name: string, weight: Tensor, master: Tensor | null = null): void {
    const sharded = new ShardedTensor(weight, this.communicator);
    this.tensors.set(name, sharded);
    if (master !== null) {
      this.masters.set(name, shardOf(master, this.communicator));
      master.dispose();
    }
  }

  /** This rank's parts of some tensors, in their order: what an optimizer works on. */
  of(parameters: Parameters): Parameters {
    return new Map([...parameters.keys()].map((name) => [name, this.tensors.get(name)!.shard]));
  }

  /** The first element of a shard in the tensor it is of. */
  first(name: string): number {
    return this.tensors.get(name)!.first;
  }

  /** Collective. Gives back to some tensors, by their names, what the ranks have parts of. */
  gather(tensors: Parameters): void {
    for (const name of tensors.keys()) this.tensors.get(name)!.gather();
  }

  /** @throws what went wrong when the weights were loaded */
  async expectSound(): Promise<void> {
    for (const { shard } of this.tensors.values()) {
      using first = shard.narrow(0, 0, 1);
      await first.readBytes();
    }
  }

  dispose(): void {
    for (const sharded of this.tensors.values()) sharded.dispose();
    for (const master of this.masters.values()) master.dispose();
  }
}

export class FullySharded implements GradientExchange, PassHooks {
  readonly communicator: Communicator;
  readonly holders: Communicator;
  readonly lockstep = true;
  readonly #layers: number;
  /** As {@link gradientGroups} orders them: head, layers from last to first, the rest. */
  readonly #groups: ShardedTensor[][];
  /** Of the pass in progress. */
  #pass: Pass | null = null;
  #backward = false;
  #reduced = 0;
  /** Sums of gradients that the ranks may still be at. */
  readonly #sums: [ShardedTensor, Tensor][] = [];

  /** @param shards of every weight and adapter of the model */
  constructor(model: CausalLM, shards: Shards) {
    this.communicator = this.holders = shards.communicator;
    this.#layers = model.config.numLayers;
    this.#groups = gradientGroups(model, shards.tensors).map((group) => group.map(([, sharded]) => sharded).reverse());
  }

  pass<R>(pass: Pass, run: (hooks: PassHooks) => R): R {
    return this.#within(pass, () => {
      const result = run(this);
      this.#reduce(this.#groups.length);
      this.#addSums();
      return result;
    });
  }

  evaluate<R>(run: (hooks: PassHooks) => R): R {
    return this.#within(null, () => run(this));
  }

  #within<R>(pass: Pass | null, run: () => R): R {
    this.#pass = pass;
    this.#backward = false;
    this.#reduced = 0;
    try {
      this.#gather(this.#layers + 1);
      return run();
    } finally {
      for (const sharded of this.#groups.flat()) sharded.release();
      for (const [, sum] of this.#sums.splice(0)) sum.dispose();
    }
  }

  startBackward(): void {
    this.#backward = true;
  }

  beforeForward(layer: number): void {
    // Again, in a backward pass with activation checkpointing: then the layers go by from last to first.
    if (this.#backward) this.beforeBackward(layer);
    else {
      this.#gather(this.#layers - layer);
      this.#gather(this.#layers - layer - 1);
    }
  }

  afterForward(layer: number): void {
    // The backward pass begins with the last layer.
    const needed = this.#backward || (this.#pass !== null && layer === this.#layers - 1);
    if (!needed) this.#release(this.#layers - layer);
  }

  beforeBackward(layer: number): void {
    if (layer === this.#layers - 1) {
      this.#reduce(1);
      this.#release(0);
    }
    this.#gather(this.#layers - layer);
    if (layer > 0) this.#gather(this.#layers - layer + 1);
  }

  afterBackward(layer: number): void {
    this.#release(this.#layers - layer);
    this.#reduce(this.#layers - layer + 1);
  }

  finish(): void {}

  #gather(group: number): void {
    for (const sharded of this.#groups[group]!) sharded.gather();
  }

  #release(group: number): void {
    for (const sharded of this.#groups[group]!) sharded.release();
  }

  /** Sums the gradients of the first `count` groups, those that are not summed yet. */
  #reduce(count: number): void {
    for (; this.#reduced < count; this.#reduced += 1) {
      // Those of the group before are through by now: nothing waits.
      this.#addSums();
      for (const sharded of this.#groups[this.#reduced]!)
        if (sharded.whole.requiresGrad) this.#sums.push([sharded, sharded.reduceGradient(this.#pass!.counts)]);
    }
  }

  #addSums(): void {
    for (const [sharded, sum] of this.#sums.splice(0)) {
      sharded.addGradient(sum);
      sum.dispose();
    }
  }
}

import { launch } from './launch.js';
import { refusePromise, scope, withoutScope } from './scope.js';
import { Tensor } from './tensor.js';

/** What an operation's backward pass sees. */
export interface BackwardContext {
  /** The gradient of output `index`, of the output's shape and dtype; zeros if nothing flowed into it. */
  gradient(index?: number): Tensor;
  /** Whether a gradient of input `index` is wanted at all. */
  needs(index: number): boolean;
  /** What the forward pass saved, in order. */
  saved(index: number): Tensor;
  /** Adds a gradient of input `index`, of any float dtype. */
  add(index: number, gradient: Tensor): void;
  /**
   * For kernels that can accumulate: calls `write(target, accumulate)` with the tensor that holds the gradient of input `index`
   * (f32 for a parameter, the input's dtype otherwise) and whether it holds something already.
   */
  into(index: number, write: (target: Tensor, accumulate: boolean) => void): void;
}

interface Value {
  id: number;
  shape: readonly number[];
  dtype: Tensor['dtype'];
  /** Set when the value is a parameter: its gradient outlives the tape. */
  parameter: Tensor | null;
}

interface Node {
  name: string;
  inputs: Value[];
  outputs: Value[];
  saved: Saved[];
  backward: (context: BackwardContext) => void;
  /** Its output again from what it saved; null: the output is kept where it is saved. */
  recompute: ((saved: readonly Tensor[]) => Tensor) | null;
  /** What `recompute` gave, from the first use in the backward pass until this node's own turn. */
  recomputed: Tensor | null;
}

/** A place in the forward pass at which the backward pass calls `reached`. */
interface Mark {
  reached: () => void;
}

/** A tensor held, or the node that makes it again. */
type Saved = { tensor: Tensor; version: number } | { producer: Node };

export interface TapeOptions {
  /**
   * Selective activation checkpointing: what is cheap to compute (see {@link record}) is not kept for the backward pass but computed
   * again there, once, from what its operation saved anyway. Default: false.
   */
  readonly recompute?: boolean;
}

/** A gradient on its way. `shared`: somebody else holds the same memory, so it must not be accumulated into. */
interface Flow {
  tensor: Tensor;
  shared: boolean;
}

const active: (Tape | null)[] = [];

/**
 * Records differentiable operations and runs their backward passes in reverse. The tape owns what it saves; it is disposed
 * after {@link backward}, on any throw, and by `using`.
 */
export class Tape {
  readonly #nodes: (Node | Mark)[] = [];
  readonly #tracked = new Set<number>();
  /** By their output's id. */
  readonly #recomputable = new Map<number, Node>();
  readonly #recompute: boolean;

  constructor({ recompute = false }: TapeOptions = {}) {
    this.#recompute = recompute;
  }

  /** Records the operations that `fn` enqueues. @throws TypeError when `fn` returns a promise. */
  run<R>(fn: () => R): R {
    active.push(this);
    try {
      const result = fn();
      refusePromise(result, 'Tape.run');
      return result;
    } catch (error) {
      this.dispose();
      throw error;
    } finally {
      active.pop();
    }
  }

  /** Treats `tensor` as something gradients are wanted for, like a parameter, for the lifetime of the tape. */
  watch(tensor: Tensor): void {
    this.#tracked.add(tensor.id);
  }

  tracks(tensor: Tensor): boolean {
    return tensor.requiresGrad || this.#tracked.has(tensor.id);
  }

  push(
    name: string,
    inputs: readonly Tensor[],
    outputs: readonly Tensor[],
    saved: readonly Tensor[],
    backward: Node['backward'],
    recompute: Node['recompute'],
  ): void {
    for (const output of outputs) this.#tracked.add(output.id);
    const node: Node = {
      name,
      inputs: inputs.map(valueFrom),
      outputs: outputs.map(valueFrom),
      saved: saved.map((tensor) => this.#save(tensor)),
      backward,
      recompute,
      recomputed: null,
    };
    this.#nodes.push(node);
    if (this.#recompute && recompute !== null) this.#recomputable.set(outputs[0]!.id, node);
  }

  mark(reached: () => void): void {
    this.#nodes.push({ reached });
  }

  #save(tensor: Tensor): Saved {
    const producer = this.#recomputable.get(tensor.id);
    return producer ? { producer } : { tensor: withoutScope(() => tensor.alias()), version: tensor.version };
  }

  /**
   * Runs the backward passes from `output` and adds the gradients of parameters to their `grad`.
   * @param gradient of `output`; default 1, for a loss of one element.
   * @returns the gradient of each watched tensor asked for in `of` (null where nothing flowed), owned by the caller.
   */
  backward(output: Tensor, gradient?: Tensor, of: readonly Tensor[] = []): (Tensor | null)[] {
    if (!this.#tracked.has(output.id))
      throw new Error(`Expected an output of this tape but received ${output}, which depends on no parameter`);
    if (!gradient && output.size !== 1)
      throw new Error(`Expected a loss of one element but received ${output}; pass its gradient`);
    const gradients = new Map<number, Flow>();
    active.push(null);
    try {
      withoutScope(() => {
        const seed = gradient ? gradient.alias() : Tensor.full(output.device, output.shape, 1, output.dtype);
        gradients.set(output.id, { tensor: seed, shared: true });
      });
      for (let node = this.#nodes.pop(); node; node = this.#nodes.pop()) {
        if ('reached' in node) node.reached();
        else this.#backwardOf(node, gradients);
      }
      return of.map((tensor) => {
        const flow = gradients.get(tensor.id);
        gradients.delete(tensor.id);
        return flow?.tensor ?? null;
      });
    } finally {
      active.pop();
      for (const { tensor } of gradients.values()) tensor.dispose();
      this.dispose();
    }
  }

  #backwardOf(node: Node, gradients: Map<number, Flow>): void {
    try {
      if (!node.outputs.some((output) => gradients.has(output.id))) return;
      scope(() => node.backward(this.#context(node, gradients)));
      for (const output of node.outputs) {
        gradients.get(output.id)?.tensor.dispose();
        gradients.delete(output.id);
      }
    } finally {
      release(node);
    }
  }

  #context(node: Node, gradients: Map<number, Flow>): BackwardContext {
    const needs = (index: number): boolean => {
      const input = node.inputs[index]!;
      return input.parameter !== null || this.#tracked.has(input.id);
    };
    const { device } = gradients.get(node.outputs.find((output) => gradients.has(output.id))!.id)!.tensor;
    const into: BackwardContext['into'] = (index, write) => {
      if (!needs(index)) return;
      const input = node.inputs[index]!;
      const held = input.parameter ? input.parameter.grad : (gradients.get(input.id)?.tensor ?? null);
      const writable = held && (input.parameter || !gradients.get(input.id)!.shared);
      const target = writable
        ? held
        : withoutScope(() => Tensor.empty(device, input.shape, input.parameter ? 'f32' : input.dtype));
      if (held && !writable) {
        launch('copy', [held, target]);
        held.dispose();
      }
      if (input.parameter) input.parameter.grad = target;
      else gradients.set(input.id, { tensor: target, shared: false });
      write(target, held !== null);
    };
    const add: BackwardContext['add'] = (index, gradient) => {
      const input = node.inputs[index]!;
      if (needs(index) && !input.parameter && !gradients.has(input.id) && gradient.dtype === input.dtype) {
        gradients.set(input.id, { tensor: withoutScope(() => gradient.alias()), shared: true });
        return;
      }
      into(index, (target, accumulate) => {
        if (accumulate) launch('add', [target, gradient, target], [1]);
        else launch('copy', [gradient, target]);
      });
    };
    return {
      gradient: (index = 0) => {
        const output = node.outputs[index]!;
        return gradients.get(output.id)?.tensor ?? Tensor.zeros(device, output.shape, output.dtype);
      },
      needs,
      saved: (index) => savedBy(node, index),
      add,
      into,
    };
  }

  dispose(): void {
    for (const node of this.#nodes) if ('inputs' in node) release(node);
    this.#nodes.length = 0;
    this.#recomputable.clear();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function savedBy(node: Node, index: number): Tensor {
  const saved = node.saved[index]!;
  if ('producer' in saved) {
    const { producer } = saved;
    producer.recomputed ??= withoutScope(() =>
      producer.recompute!(producer.saved.map((_, at) => savedBy(producer, at))),
    );
    return producer.recomputed;
  }
  const { tensor, version } = saved;
  if (tensor.version !== version)
    throw new Error(
      `${node.name}: ${tensor} was changed in place after the forward pass; its backward pass needs it as it was`,
    );
  return tensor;
}

function release(node: Node): void {
  for (const saved of node.saved) if ('tensor' in saved) saved.tensor.dispose();
  node.recomputed?.dispose();
}

/**
 * Called by each differentiable operation after its forward launch; does nothing unless a tape records and one of `inputs`
 * is tracked. Everything that `backward` reads must be in `saved`.
 * @param recompute for an operation that costs little beside its memory: makes `outputs[0]` again, bit for bit, from `saved`. It
 *   disposes whatever else it creates.
 */
export function record(
  name: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  saved: readonly Tensor[],
  backward: (context: BackwardContext) => void,
  recompute: ((saved: readonly Tensor[]) => Tensor) | null = null,
): void {
  const tape = active.at(-1);
  if (tape && inputs.some((input) => tape.tracks(input))) tape.push(name, inputs, outputs, saved, backward, recompute);
}

/**
 * Calls `reached` when the backward pass has come back to this place: every operation recorded later has had its turn, none
 * recorded earlier. Does nothing unless a tape records.
 */
export function atBackward(reached: () => void): void {
  active.at(-1)?.mark(reached);
}

/** The tape that records now, if any. */
export function currentTape(): Tape | null {
  return active.at(-1) ?? null;
}

/** Runs `fn` unrecorded. */
export function withoutTape<R>(fn: () => R): R {
  active.push(null);
  try {
    return fn();
  } finally {
    active.pop();
  }
}

function valueFrom(tensor: Tensor): Value {
  return { id: tensor.id, shape: tensor.shape, dtype: tensor.dtype, parameter: tensor.requiresGrad ? tensor : null };
}

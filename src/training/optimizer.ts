// AdamW on the device: f32 master weights or stochastic rounding, 32-bit or block-wise 8-bit moments, and the norm that
// clipping goes by.

import type { Communicator } from '../distributed/communicator.js';
import { roundingPurpose } from '../ops/random.js';
import { launch } from '../tensor/launch.js';
import { scope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';

/** Trainable tensors by name. Their gradients are f32, in `grad`. */
export type Parameters = ReadonlyMap<string, Tensor>;

export interface AdamWOptions {
  /** Bits of each moment: 32, or 8 with one scale for every 256 elements. */
  readonly bits: 32 | 8;
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Decoupled; of every parameter, as in torch. */
  readonly weightDecay: number;
  /**
   * bf16 weights are their own masters, and each update is rounded at random to one of the two neighbours, so that on average
   * small ones are not lost. Default: false, f32 masters.
   */
  readonly stochasticRounding?: boolean;
  /** Of the rounding. Default: 0. */
  readonly seed?: number;
}

/** Elements that share a scale of 8-bit moments. */
export const momentBlock = 256;
/** Smaller tensors keep 32-bit moments: 8 bits would save little and cost accuracy (bitsandbytes' `min_8bit_size`). */
const smallest8bit = 4096;

/** Parameters (or tensors of any kind) that one operation takes at most. */
const mostPerOperation = 256;

/** Where a parameter lies in the tensor that it is a part of. */
export interface Place {
  /** Its first element in the whole, a multiple of 256. */
  readonly first: number;
  /** Elements of the whole. */
  readonly whole: number;
  /** Whether its blocks of 256 are blocks of the whole. If not, its moments keep 32 bits. */
  readonly blocksFit: boolean;
}

interface Slot {
  readonly weight: Tensor;
  /** Elements of the tensor that the weight is a part of. */
  readonly whole: number;
  /** [n], what is updated: f32, or with stochastic rounding bf16; a view of the weight itself if that has this dtype. */
  readonly master: Tensor;
  /** bf16 [n] view of the weight, which receives the rounded master; null if the master is the weight. */
  readonly low: Tensor | null;
  /** m, v, or mCodes, mAbsmax, vCodes, vAbsmax. */
  readonly moments: Readonly<Record<string, Tensor>>;
  /** Of the random rounding. */
  readonly purpose: number;
  readonly first: number;
}

interface Group {
  readonly op: 'adamw' | 'adamw_8bit';
  readonly slots: Slot[];
}

export interface StateLayout {
  readonly whole: number;
  readonly block: number;
}

export class AdamW {
  readonly #slots = new Map<string, Slot>();
  /** Slots that one operation updates. */
  readonly #groups: Group[] = [];
  readonly #options: AdamWOptions;
  /** [1] f32 and [1] i32: what {@link update} goes by, on the device, so that a recorded update goes on with other ones. */
  readonly learningRate: Tensor;
  readonly stepNumber: Tensor;

  /**
   * Allocates moments of zero. The parameters stay their owner's.
   * @param masters of the bf16 parameters by name, f32, taken over: the values that these were rounded from. Where there is none
   *   the master starts from the rounded weight; then an update of less than half a bf16 step does not show until several
   *   add up to one.
   * @param place of parameters that are parts of larger tensors: their updates are those of the whole. Default: none is.
   */
  constructor(
    parameters: Parameters,
    options: AdamWOptions,
    masters: Parameters = new Map(),
    place: ((name: string) => Place) | null = null,
  ) {
    const [any] = parameters.values();
    if (any === undefined) throw new Error("Expected 'parameters' to hold something to train but received none");
    this.#options = options;
    this.learningRate = Tensor.zeros(any.device, [1]);
    this.stepNumber = Tensor.full(any.device, [1], 0, 'i32');
    for (const [name, weight] of parameters) {
      const slot = createSlot(
        name,
        weight,
        options,
        masters.get(name) ?? null,
        place?.(name) ?? { first: 0, whole: weight.size, blocksFit: true },
        this.#slots.size,
      );
      this.#slots.set(name, slot);
      const op = 'm' in slot.moments ? 'adamw' : 'adamw_8bit';
      const takesIt = (group: Group) =>
        group.op === op && group.slots[0]!.master.dtype === slot.master.dtype && group.slots.length < mostPerOperation;
      const group = this.#groups.find(takesIt);
      if (group) group.slots.push(slot);
      else this.#groups.push({ op, slots: [slot] });
    }
  }

  /**
   * Enqueues one update of every parameter, from `grad` × `gradientFactor`.
   * @param step 1 for the first update: the bias correction counts from it
   * @param gradientFactor f32 [1], or null for 1
   */
  step(learningRate: number, step: number, gradientFactor: Tensor | null): void {
    this.learningRate.write([learningRate]);
    this.stepNumber.write(Int32Array.of(step));
    this.update(gradientFactor);
  }

  /** {@link step} with the learning rate and step number that are in {@link learningRate} and {@link stepNumber}. */
  update(gradientFactor: Tensor | null): void {
    const { betas, eps, weightDecay, seed = 0 } = this.#options;
    for (const { op, slots } of this.#groups) {
      const tensors: (Tensor | null)[] = [this.learningRate, this.stepNumber, gradientFactor];
      const attributes = [...betas, eps, weightDecay, seed];
      for (const { weight, master, low, moments, purpose, first } of slots) {
        tensors.push(master, gradientOf(weight), ...Object.values(moments), low);
        attributes.push(purpose, first);
      }
      launch(op, tensors, attributes);
    }
  }

  /** Everything that a checkpoint must hold to go on exactly: per parameter `NAME.master` (the weight itself if it is its own) and `NAME.<moment>`. */
  state(): Map<string, Tensor> {
    const state = new Map<string, Tensor>();
    for (const [name, { master, moments }] of this.#slots) {
      state.set(`${name}.master`, master);
      for (const [moment, tensor] of Object.entries(moments)) state.set(`${name}.${moment}`, tensor);
    }
    return state;
  }

  /** By the names of {@link state}: elements of the whole parameter, and how many of them share one element of the state. */
  layout(): Map<string, StateLayout> {
    const layout = new Map<string, StateLayout>();
    for (const [name, { whole, moments }] of this.#slots) {
      layout.set(`${name}.master`, { whole, block: 1 });
      for (const moment of Object.keys(moments))
        layout.set(`${name}.${moment}`, { whole, block: isOfBlocks(moment) ? momentBlock : 1 });
    }
    return layout;
  }

  /** To be called after the tensors of {@link state} were written: bf16 weights follow their masters. */
  restored(): void {
    for (const { master, low } of this.#slots.values()) if (low !== null) launch('copy', [master, low]);
  }

  dispose(): void {
    for (const { master, low, moments } of this.#slots.values()) {
      master.dispose();
      low?.dispose();
      for (const tensor of Object.values(moments)) tensor.dispose();
    }
    this.learningRate.dispose();
    this.stepNumber.dispose();
    this.#slots.clear();
    this.#groups.length = 0;
  }
}

/** Whether a tensor of the state has one element for each block of the parameter's. */
export function isOfBlocks(name: string): boolean {
  return name.endsWith('Absmax');
}

function createSlot(
  name: string,
  weight: Tensor,
  { bits, stochasticRounding }: AdamWOptions,
  exact: Tensor | null,
  place: Place,
  index: number,
): Slot {
  const size = weight.size;
  const { device } = weight;
  const flat = weight.reshape([size]);
  let master = flat;
  const ownMaster = weight.dtype === 'f32' || stochasticRounding === true;
  if (!ownMaster) {
    master = exact?.reshape([size]) ?? Tensor.empty(device, [size], 'f32');
    if (exact === null) launch('copy', [flat, master]);
    else exact.dispose();
  }
  const zeros = (length: number, dtype: 'f32' | 'u8') => Tensor.zeros(device, [length], dtype);
  const blocks = Math.ceil(size / momentBlock);
  const moments =
    momentBits(name, place, bits) === 8
      ? {
          // The order of the operation's arguments. A code of 0 with a scale of 0 is 0 in both code books.
          mCodes: zeros(size, 'u8'),
          mAbsmax: zeros(blocks, 'f32'),
          vCodes: zeros(size, 'u8'),
          vAbsmax: zeros(blocks, 'f32'),
        }
      : { m: zeros(size, 'f32'), v: zeros(size, 'f32') };
  const rounding = { purpose: roundingPurpose(index), first: place.first };
  return { weight, whole: place.whole, master, low: ownMaster ? null : flat, moments, ...rounding };
}

type Extent = Pick<Place, 'whole' | 'blocksFit'>;

function momentBits(name: string, { whole, blocksFit }: Extent, bits: 32 | 8): 32 | 8 {
  return whole < smallest8bit || !blocksFit || isEmbedding(name) ? 32 : bits;
}

/** Bytes of both moments of a parameter. @param size its elements. @param extent of the tensor that it is a part of; default: it is whole */
export function momentBytes(
  name: string,
  size: number,
  bits: 32 | 8,
  extent: Extent = { whole: size, blocksFit: true },
): number {
  return momentBits(name, extent, bits) === 32 ? 8 * size : 2 * (size + 4 * Math.ceil(size / momentBlock));
}

/** Rows of an embedding are seen seldom, so their moments keep 32 bits (as in bitsandbytes' use by transformers). */
function isEmbedding(name: string): boolean {
  return /(^|\.)embed_tokens\.weight$/.test(name);
}

function gradientOf(parameter: Tensor): Tensor {
  if (parameter.grad === null) throw new Error(`Expected 'grad' of ${parameter} to be allocated but it is null`);
  return parameter.grad;
}

/** Gives every parameter a gradient of zero. */
export function zeroGradients(parameters: Parameters): void {
  for (const parameter of parameters.values())
    parameter.grad ??= Tensor.empty(parameter.device, parameter.shape, 'f32');
  const gradients = Array.from(parameters.values(), gradientOf);
  for (let at = 0; at < gradients.length; at += mostPerOperation)
    launch('fill', gradients.slice(at, at + mostPerOperation), [0]);
}

export function disposeGradients(parameters: Parameters): void {
  for (const parameter of parameters.values()) {
    parameter.grad?.dispose();
    parameter.grad = null;
  }
}

/**
 * Enqueues the Euclidean norm over all gradients, and the factor that scales them to at most `maxNorm` (torch's
 * `clip_grad_norm_`; 0: no clipping). Both f32 [1], the caller's to dispose.
 * @param holders the ranks that hold other parts of the gradients, if any
 * @param group the ranks that hold the model together, if any, and what this one counts for them: nothing twice
 */
export function gradientNorm(
  parameters: Parameters,
  maxNorm: number,
  holders: Communicator | null = null,
  group: Communicator | null = null,
  counted: Parameters = parameters,
): { norm: Tensor; factor: Tensor } {
  return scope(() => {
    const [first] = parameters.values();
    if (first === undefined) throw new Error("Expected 'parameters' to hold something to train but received none");
    const squares = Tensor.zeros(first.device, [1]);
    const gradients = Array.from(counted.values(), gradientOf);
    for (let at = 0; at < gradients.length; at += mostPerOperation)
      launch('sum_squares', [squares, ...gradients.slice(at, at + mostPerOperation)]);
    holders?.allReduce(squares);
    group?.allReduce(squares);
    const norm = Tensor.empty(first.device, [1]);
    const factor = Tensor.empty(first.device, [1]);
    launch('clip_factor', [squares, norm, factor], [maxNorm]);
    return { norm, factor };
  });
}

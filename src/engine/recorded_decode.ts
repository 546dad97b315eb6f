import type { PagedContext } from '../nn/context.js';
import type { CausalLM } from '../nn/model.js';
import { launch } from '../tensor/launch.js';
import type { Recording } from '../tensor/recording.js';
import { withoutScope } from '../tensor/scope.js';
import { Tensor } from '../tensor/tensor.js';
import type { StepInputs } from './step_inputs.js';

/** Of B sequences that compute one token each. */
interface DecodeSlots {
  readonly [name: string]: Tensor;
  /** i32 [B]; −(i+1): token i of those that the step before has sampled. */
  readonly tokens: Tensor;
  /** i32 [B] */
  readonly positions: Tensor;
  /** i32 [B] */
  readonly slots: Tensor;
  /** i32 [B] */
  readonly contextLengths: Tensor;
}

/** Beyond so many sequences a step takes long enough to be enqueued operation by operation. */
const mostRecorded = 512;

/**
 * Sizes at which decode steps are recorded on a GPU, up to `most`: vLLM's, of which there is one at most 8 (16 from 256 on) above any
 * batch, and the largest batch itself, so that there is one for every batch.
 */
export function defaultCaptureSizes(most: number): number[] {
  const largest = Math.min(most, mostRecorded);
  const sizes = [1, 2, 4];
  for (let size = 8; size < largest; size += size < 256 ? 8 : 16) sizes.push(size);
  return [...sizes.filter((size) => size < largest), largest];
}

/**
 * The forward pass of steps in which every sequence computes one token, recorded once for each of some batch sizes and replayed: one call
 * instead of hundreds. A batch takes the next larger size; the rows that this adds see one key, write none, and nobody reads them.
 * Recordings are made when they are first needed, and anew when weights or adapters have changed. They share one memory, that of the
 * largest.
 */
export class RecordedDecode {
  private readonly model: CausalLM;
  private readonly cache: PagedContext['cache'];
  private readonly sampled: Tensor;
  private readonly sizes: readonly number[];
  /** Inputs of the largest size, of which smaller ones take the beginning. */
  private readonly inputs: DecodeSlots;
  private readonly cuSeqlens: Tensor;
  /** [largest size, blocks of the longest context] */
  private readonly blockTable: Tensor;
  private readonly recordings = new Map<number, { recording: Recording<DecodeSlots, Tensor>; slots: DecodeSlots }>();
  private weightVersion: number;

  /**
   * @param sampled i32: the tokens that the last step has sampled.
   * @param sizes batch sizes to record, in rising order.
   * @param maxBlocks of the longest context.
   */
  constructor(
    model: CausalLM,
    cache: PagedContext['cache'],
    sampled: Tensor,
    sizes: readonly number[],
    maxBlocks: number,
  ) {
    this.model = model;
    this.cache = cache;
    this.sampled = sampled;
    this.sizes = sizes;
    this.weightVersion = model.weightVersion;
    const most = sizes.at(-1)!;
    const { device } = model;
    const ints = (): Tensor => Tensor.zeros(device, [most], 'i32');
    this.inputs = { tokens: ints(), positions: ints(), slots: ints(), contextLengths: ints() };
    this.cuSeqlens = Tensor.from(
      device,
      Int32Array.from({ length: most + 1 }, (_, b) => b),
    );
    this.blockTable = Tensor.zeros(device, [most, maxBlocks], 'i32'); // block 0 is there for rows that nobody reads
  }

  /** The hidden states [B, E] of B sequences with a token each; valid until the next call. Null where B is beyond every size. */
  forward(inputs: StepInputs): Tensor | null {
    const sequences = inputs.contextLengths_B.length;
    const size = this.sizes.find((one) => one >= sequences);
    if (size === undefined) return null;
    if (this.weightVersion !== this.model.weightVersion) this.forget();
    const recording = this.recordingOf(size);
    this.blockTable.narrow(0, 0, sequences).narrow(1, 0, inputs.maxBlocks).write(inputs.blockTable);
    recording.replay({
      tokens: padded(inputs.tokens_T, size, 0),
      positions: padded(inputs.positions_T, size, 0),
      slots: padded(inputs.slots_T, size, -1),
      contextLengths: padded(inputs.contextLengths_B, size, 1),
    });
    return recording.outputs.narrow(0, 0, sequences);
  }

  dispose(): void {
    this.forget();
    for (const tensor of [...Object.values(this.inputs), this.cuSeqlens, this.blockTable]) tensor.dispose();
  }

  private forget(): void {
    for (const { recording, slots } of this.recordings.values()) {
      recording.dispose();
      recording.outputs.dispose();
      for (const slot of Object.values(slots)) slot.dispose();
    }
    this.recordings.clear();
    this.weightVersion = this.model.weightVersion;
  }

  private recordingOf(size: number): Recording<DecodeSlots, Tensor> {
    const known = this.recordings.get(size);
    if (known !== undefined) return known.recording;
    const most = this.sizes.at(-1)!;
    const largest = size === most ? null : this.recordingOf(most);
    return withoutScope(() => this.record(size, largest));
  }

  private record(size: number, sharing: Recording<DecodeSlots, Tensor> | null): Recording<DecodeSlots, Tensor> {
    const first = (tensor: Tensor): Tensor => tensor.narrow(0, 0, size);
    const { tokens, positions, slots: cacheSlots, contextLengths } = this.inputs;
    const slots: DecodeSlots = {
      tokens: first(tokens),
      positions: first(positions),
      slots: first(cacheSlots),
      contextLengths: first(contextLengths),
    };
    const step = (): Tensor => {
      const ids = Tensor.empty(this.model.device, [size], 'i32');
      launch('take_sampled', [slots.tokens, this.sampled, ids]);
      return this.model.forward({
        kind: 'paged',
        ...slots,
        tokens: ids,
        cuSeqlens: this.cuSeqlens.narrow(0, 0, size + 1),
        blockTable: first(this.blockTable),
        cache: this.cache,
      });
    };
    const recording = this.model.device.record(slots, step, sharing === null ? {} : { sharing });
    this.recordings.set(size, { recording, slots });
    return recording;
  }
}

function padded(data: Int32Array, size: number, value: number): Int32Array {
  if (data.length === size) return data;
  const whole = new Int32Array(size).fill(value);
  whole.set(data);
  return whole;
}

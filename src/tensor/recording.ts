import { native } from '../native.js';
import type { Device } from './device.js';
import type { TensorData } from './dtype.js';
import { scope } from './scope.js';
import type { Tensor } from './tensor.js';

/** Tensors that change from one replay to the next, by name. They belong to the caller and outlive the recording. */
export type Slots = Readonly<Record<string, Tensor>>;

/**
 * Operations enqueued once, to run again and again with other inputs: their checks and the way through JavaScript are spared.
 * Made by {@link Device.record}.
 */
export class Recording<S extends Slots, R> {
  /** What the recorded function returned: written by each replay. The caller's to dispose, after the recording. */
  readonly outputs: R;
  readonly #device: Device;
  readonly #number: number;
  readonly #slots: S;
  #disposed = false;

  constructor(device: Device, slots: S, fn: () => R, sharing: Recording<Slots, unknown> | null) {
    this.#device = device;
    this.#slots = slots;
    if (sharing && sharing.#device !== device)
      throw new Error(`Expected 'sharing' to be a recording on ${device.name} but received one of another device`);
    native.startRecording(device.id, sharing ? sharing.#number : -1);
    try {
      this.outputs = scope(fn);
    } catch (error) {
      native.releaseRecording(device.id, native.stopRecording(device.id));
      throw error;
    }
    this.#number = native.stopRecording(device.id);
  }

  /**
   * Enqueues the recorded operations once more, after the given inputs; slots that are left out keep what they hold. Bad data
   * poisons what depends on it until the next replay.
   * @throws Error for a name that is no slot, for data of another size or dtype, and when a tensor that `fn` used, and that was not
   *   made inside, was disposed.
   */
  replay(inputs: { readonly [name in keyof S]?: TensorData | readonly number[] } = {}): void {
    if (this.#disposed) throw new Error('Expected a live recording but it was disposed');
    for (const [name, data] of Object.entries(inputs)) {
      const slot = this.#slots[name];
      if (!slot)
        throw new Error(`Expected one of the slots ${Object.keys(this.#slots).join(', ')} but received '${name}'`);
      slot.write(data as TensorData);
    }
    native.replay(this.#device.id, this.#number);
  }

  /** Gives its memory back; replays that are enqueued still run. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#device.isOpen) native.releaseRecording(this.#device.id, this.#number);
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

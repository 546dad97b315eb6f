import { availableParallelism } from 'node:os';
import { type DeviceStatistics, native, type OpName } from '../native.js';
import { Recording, type Slots } from './recording.js';

export interface DeviceOptions {
  /** CPU threads that one operation may use; default: all that the process may run on. */
  threads?: number;
  /** Bytes of device memory that may be live at once; default: no limit but the system's. */
  memoryLimit?: number;
  /** GPU: {@link Device.profile} times operations there, which costs each a little; default: it times their launches. */
  profile?: boolean;
}

/**
 * An asynchronous stream of operations with memory of its own. Enqueueing returns at once; only reads and
 * {@link Device.synchronize} wait. A device belongs to the thread that opened it.
 */
export class Device {
  readonly name: string;
  /** The native number; for the tensor layer only. */
  readonly id: number;
  /** Shared with the addon: where an operation is written before it is enqueued. */
  readonly commandBuffer: Float64Array;
  #open = true;

  /**
   * @param name `cpu`, or `cuda:N`: the GPU of that number (`cuda` is `cuda:0`). For tests also `cpu-chaos`, with random
   *   delays, NaN-filled memory and opaque addresses, and `cuda-emulated`: the CUDA kernels on the host, with the same chaos.
   * @throws when the device is unknown or not available, with the remedy.
   */
  static open(name: string, options: DeviceOptions = {}): Device {
    return new Device(name, options);
  }

  private constructor(name: string, options: DeviceOptions) {
    const [, kind, number] = /^(cpu|cpu-chaos|cuda(?:-emulated)?)(?::(\d{1,3}))?$/.exec(name) ?? [];
    if (kind === undefined || (kind.startsWith('cpu') && number !== undefined))
      throw new Error(`Expected device 'cpu' or 'cuda:N' but received '${name}'`);
    const backend = kind.startsWith('cpu') ? 'cpu' : (kind as 'cuda' | 'cuda-emulated');
    const threads = options.threads ?? availableParallelism();
    if (!Number.isInteger(threads) || threads < 1 || threads > 1024)
      throw new Error(`Expected 'threads' to be a whole number from 1 to 1024 but received ${threads}`);
    this.name = name;
    this.commandBuffer = new Float64Array(1 << 14);
    const chaos = kind === 'cpu-chaos' || kind === 'cuda-emulated';
    const limit = options.memoryLimit ?? Infinity;
    const profile = options.profile ?? false;
    this.id = native.openDevice(backend, Number(number ?? 0), threads, limit, chaos, profile, this.commandBuffer);
  }

  /** Resolves when everything enqueued so far has run. Errors stay with the tensors they poisoned. */
  synchronize(): Promise<void> {
    return native.synchronize(this.id);
  }

  statistics(): DeviceStatistics {
    return native.describeDevice(this.id);
  }

  /**
   * What each operation has cost the stream so far, the costliest first: on the CPU its work; on a GPU its launch, or, where
   * the device was opened with `profile`, its work there.
   */
  profile(): { op: OpName; calls: number; seconds: number }[] {
    const costs = native.profile(this.id);
    return native
      .listOps('cpu')
      .map(({ name }, index) => ({ op: name, calls: costs[2 * index]!, seconds: costs[2 * index + 1]! * 1e-9 }))
      .filter(({ calls }) => calls > 0)
      .sort((a, b) => b.seconds - a.seconds);
  }

  /**
   * Keeps the operations that `fn` enqueues, without running them, to be replayed with other contents of `slots`. Tensors made
   * inside have memory of the recording's own. Inside there can be no upload, read or wait.
   *
   * On a GPU the first replay runs operation by operation, the second one becomes a CUDA graph; the bits are the same.
   * @param options.sharing another recording, to use the memory of: what each leaves is then gone with the next replay of the
   *   other, and both cost what the larger one needs if it is recorded first.
   */
  record<S extends Slots, R>(
    slots: S,
    fn: () => R,
    options: { sharing?: Recording<Slots, unknown> } = {},
  ): Recording<S, R> {
    return new Recording(this, slots, fn, options.sharing ?? null);
  }

  /** Waits for what is enqueued, if the device still works, and gives all memory back; tensors of this device are gone with it. */
  async close(): Promise<void> {
    if (!this.#open) return;
    await this.synchronize().catch(() => {}); // a lost device is closed too
    this.#open = false;
    native.closeDevice(this.id);
  }

  get isOpen(): boolean {
    return this.#open;
  }
}

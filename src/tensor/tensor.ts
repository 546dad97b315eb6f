import { native } from '../native.js';
import type { Device } from './device.js';
import { type DType, dtypeSize, type TensorData } from './dtype.js';
import { launch } from './launch.js';
import { adopt, withoutScope } from './scope.js';

/** A piece of device memory; −1: given back while tensors still look at it. */
interface Memory {
  readonly device: Device;
  handle: number;
}

/** Reference-counted device memory. `version` counts in-place writes, so that the tape notices when saved data changed. */
class Storage {
  version = 0;
  readonly #memory: Memory;
  #references = 1;

  constructor(device: Device, bytes: number) {
    this.#memory = { device, handle: native.allocate(device.id, bytes) };
    safetyNet.register(this, this.#memory, this);
  }

  get device(): Device {
    return this.#memory.device;
  }
  get handle(): number {
    return this.#memory.handle;
  }

  retain(): this {
    this.#references += 1;
    return this;
  }

  release(): void {
    this.#references -= 1;
    if (this.#references > 0) return;
    safetyNet.unregister(this);
    giveBack(this.#memory);
  }

  evict(): void {
    giveBack(this.#memory);
  }

  restore(bytes: number): void {
    this.#memory.handle = native.allocate(this.device.id, bytes);
  }
}

function giveBack(memory: Memory): void {
  const { device, handle } = memory;
  if (handle >= 0 && device.isOpen) native.release(device.id, handle);
  memory.handle = -1;
}

// Lifetime is explicit; this only keeps a forgotten tensor from holding memory for ever.
const safetyNet = new FinalizationRegistry<Memory>(giveBack);

let lastId = 0;

/**
 * A view of device memory: contiguous, or narrowed along its first or last dimension. Operations never promote dtypes.
 *
 * A tensor is disposed explicitly, with `using`, or by the {@link scope} it was created in. Memory goes back as soon as the
 * last view of it is disposed; operations already enqueued still run.
 */
export class Tensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Identifies the value for the tape; aliases share it, views do not. */
  readonly id: number;
  /** In elements, from the start of the storage. */
  readonly offset: number;
  /** Elements from one row to the next; more than the last dimension when that was narrowed. */
  readonly rowStride: number;
  /** A parameter: the tape adds its gradient to {@link Tensor.grad}. */
  requiresGrad = false;
  /** f32, shape of the tensor; null until a backward pass reached it. Belongs to whoever set `requiresGrad`. */
  grad: Tensor | null = null;
  readonly #storage: Storage;
  #disposed = false;

  private constructor(
    storage: Storage,
    shape: readonly number[],
    dtype: DType,
    offset: number,
    rowStride: number,
    id: number,
  ) {
    this.#storage = storage;
    this.shape = shape;
    this.dtype = dtype;
    this.offset = offset;
    this.rowStride = rowStride;
    this.id = id;
    adopt(this);
  }

  /**
   * Uninitialised memory.
   * @throws when the device has no room, saying what is in use.
   */
  static empty(device: Device, shape: readonly number[], dtype: DType = 'f32'): Tensor {
    checkShape(shape);
    const storage = new Storage(device, elements(shape) * dtypeSize[dtype]);
    return new Tensor(storage, shape, dtype, 0, shape.at(-1) ?? 1, ++lastId);
  }

  static full(device: Device, shape: readonly number[], value: number, dtype: DType = 'f32'): Tensor {
    const tensor = Tensor.empty(device, shape, dtype);
    launch('fill', [tensor], [value]);
    return tensor;
  }

  static zeros(device: Device, shape: readonly number[], dtype: DType = 'f32'): Tensor {
    return Tensor.full(device, shape, 0, dtype);
  }

  /**
   * Copies host data, at once: the array may change afterwards. Floats may be stored as bf16, bytes as the bits of fp8;
   * otherwise the dtype is the array's own (f32 for a plain array).
   */
  static from(device: Device, data: TensorData | readonly number[], shape?: readonly number[], dtype?: DType): Tensor {
    const tensor = Tensor.empty(device, shape ?? [data.length], dtype ?? naturalDType(data));
    try {
      tensor.write(data);
    } catch (error) {
      tensor.dispose();
      throw error;
    }
    return tensor;
  }

  /** Uninitialised memory with the shape, dtype and device of this tensor. */
  like(dtype: DType = this.dtype): Tensor {
    return Tensor.empty(this.device, this.shape, dtype);
  }

  get device(): Device {
    return this.#storage.device;
  }
  get size(): number {
    return elements(this.shape);
  }
  get contiguous(): boolean {
    return this.rowStride === (this.shape.at(-1) ?? 1) || this.size <= (this.shape.at(-1) ?? 1);
  }
  get disposed(): boolean {
    return this.#disposed;
  }
  /** Counts in-place writes to the memory behind this view. */
  get version(): number {
    return this.#storage.version;
  }
  bumpVersion(): void {
    this.#storage.version += 1;
  }
  /** The native handle, for {@link launch} and the weight reader. */
  get handle(): number {
    this.#expectLive();
    if (this.evicted) throw new Error(`Expected a tensor with memory but that of ${this} was given back`);
    return this.#storage.handle;
  }

  #expectLive(): void {
    if (this.#disposed) throw new Error(`Expected a live tensor but ${this} was disposed`);
  }

  /** Whether the memory was given back by {@link evict}. */
  get evicted(): boolean {
    return this.#storage.handle < 0;
  }

  /** Gives the memory back, for all views of it, which live on but cannot be used until {@link restore}. Operations already enqueued still run. */
  evict(): void {
    this.#storage.evict();
  }

  /**
   * Takes memory again. `fill` has to write what was there when it was evicted: for the tape nothing has changed.
   * @param elements of the memory, at least those of this tensor
   * @param fill is given all of it, a tensor of one dimension
   */
  restore(elements: number, fill: (memory: Tensor) => void): void {
    if (!this.evicted || this.offset !== 0 || elements < this.size)
      throw new Error(
        `Expected an evicted tensor at the start of its memory, of at most ${elements}, but received ${this}`,
      );
    const { version } = this.#storage;
    this.#storage.restore(elements * dtypeSize[this.dtype]);
    using memory = withoutScope(
      () => new Tensor(this.#storage.retain(), [elements], this.dtype, 0, elements, ++lastId),
    );
    fill(memory);
    this.#storage.version = version;
  }

  /** Replaces the contents. Copies at once, lands in stream order. */
  write(data: TensorData | readonly number[]): void {
    if (data.length !== this.size)
      throw new Error(`Expected ${this.size} elements for ${this} but received ${data.length}`);
    const natural = this.dtype === 'bf16' ? 'f32' : this.dtype === 'fp8' ? 'u8' : this.dtype;
    const array = Array.isArray(data) ? fromNumbers(data as readonly number[], natural) : (data as TensorData);
    if (naturalDType(array) !== natural)
      throw new Error(`Expected ${natural} data for ${this} but received ${naturalDType(array)}`);
    if (this.dtype === 'bf16' || !this.contiguous) {
      using staged = Tensor.from(this.device, array, this.shape, this.dtype === 'bf16' ? 'f32' : this.dtype);
      launch('copy', [staged, this]);
      return;
    }
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
    native.write(this.device.id, this.handle, this.offset * dtypeSize[this.dtype], bytes);
    this.bumpVersion();
  }

  /** The contents as they are at this point of the stream; bf16 is widened to f32, of fp8 the bits. Rejects when an operation they depend on failed. */
  async read(): Promise<TensorData> {
    const buffer = await this.#readBuffer();
    if (this.dtype === 'i32') return new Int32Array(buffer);
    if (this.dtype === 'u8' || this.dtype === 'fp8') return new Uint8Array(buffer);
    if (this.dtype === 'f32') return new Float32Array(buffer);
    const halves = new Uint16Array(buffer);
    const bits = new Uint32Array(halves.length);
    for (let index = 0; index < halves.length; index += 1) bits[index] = halves[index]! << 16;
    return new Float32Array(bits.buffer);
  }

  /** {@link read} of an f32 or bf16 tensor. */
  async readFloats(): Promise<Float32Array> {
    const data = await this.read();
    if (!(data instanceof Float32Array)) throw new Error(`Expected an f32 or bf16 tensor but received ${this}`);
    return data;
  }

  /** The contents as stored, row after row. */
  async readBytes(): Promise<Uint8Array> {
    return new Uint8Array(await this.#readBuffer());
  }

  #readBuffer(): Promise<ArrayBuffer> {
    if (!this.contiguous) {
      using packed = this.like();
      launch('copy', [this, packed]);
      return packed.#readBuffer();
    }
    const size = dtypeSize[this.dtype];
    return native.read(this.device.id, this.handle, this.offset * size, this.size * size);
  }

  /** A view of `length` indices from `start` along the first or the last dimension. */
  narrow(axis: number, start: number, length: number): Tensor {
    const rank = this.shape.length;
    const last = rank - 1;
    if (axis !== 0 && axis !== last) throw new Error(`Expected 'axis' to be 0 or ${last} but received ${axis}`);
    if (!(start >= 0 && length >= 0 && start + length <= this.shape[axis]!))
      throw new Error(
        `Expected a range within the ${this.shape[axis]} indices of axis ${axis} but received ${start}+${length}`,
      );
    const shape = this.shape.map((size, index) => (index === axis ? length : size));
    const step = axis === last ? 1 : elements(this.shape.slice(1, -1)) * this.rowStride;
    return this.#view(shape, this.offset + start * step, this.rowStride);
  }

  /** A view with another shape of as many elements. Of a tensor narrowed along its last dimension only the others may change. */
  reshape(shape: readonly number[]): Tensor {
    checkShape(shape);
    if (elements(shape) !== this.size)
      throw new Error(`Expected a shape of ${this.size} elements but received [${shape.join(', ')}]`);
    if (this.contiguous) return this.#view(shape, this.offset, shape.at(-1) ?? 1);
    if (shape.at(-1) !== this.shape.at(-1))
      throw new Error(`Expected the last dimension of narrowed ${this} to stay but received [${shape.join(', ')}]`);
    return this.#view(shape, this.offset, this.rowStride);
  }

  #view(shape: readonly number[], offset: number, rowStride: number): Tensor {
    this.#expectLive();
    return new Tensor(this.#storage.retain(), shape, this.dtype, offset, rowStride, ++lastId);
  }

  /** A second holder of the same value, with a lifetime of its own; a parameter's alias is no parameter. */
  alias(): Tensor {
    this.#expectLive();
    return new Tensor(this.#storage.retain(), this.shape, this.dtype, this.offset, this.rowStride, this.id);
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#storage.release();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `${this.dtype}[${this.shape.join(', ')}]`;
  }
}

function elements(shape: readonly number[]): number {
  let product = 1;
  for (const size of shape) product *= size;
  return product;
}

function checkShape(shape: readonly number[]): void {
  if (shape.length > 4 || !shape.every((size) => Number.isInteger(size) && size >= 0))
    throw new Error(`Expected a shape of at most 4 whole numbers but received [${shape.join(', ')}]`);
}

function naturalDType(data: TensorData | readonly number[]): DType {
  if (data instanceof Int32Array) return 'i32';
  if (data instanceof Uint8Array) return 'u8';
  return 'f32';
}

function fromNumbers(data: readonly number[], dtype: DType): TensorData {
  if (dtype === 'i32') return Int32Array.from(data);
  if (dtype === 'u8') return Uint8Array.from(data);
  return Float32Array.from(data);
}

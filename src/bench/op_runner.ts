import { native, type OpContract } from '../native.js';
import type { Device } from '../tensor/device.js';
import { launch } from '../tensor/launch.js';
import { scope, withoutScope } from '../tensor/scope.js';
import type { OpBench, Work } from './op_bench.js';
import { bytesOf, type FloatDType, Operands } from './operands.js';
import type { Shape } from './shape.js';

/** Sets of operands at most; small ones still fit in a cache then. */
const mostCopies = 256;

export interface OpRunnerOptions {
  readonly dtype: FloatDType;
  readonly shape: Shape;
  /** Bytes that the operands of successive calls should span before a set comes again. Default 0: always the same set. */
  readonly span?: number;
  /** Or how many sets there are. */
  readonly copies?: number;
}

/** An operation with its operands, ready to be called again and again. */
export class OpRunner {
  readonly flops: number;
  readonly bytes: number;
  readonly copies: number;
  readonly #device: Device;
  readonly #bench: OpBench;
  readonly #works: Work[];
  #calls = 0;

  constructor(device: Device, bench: OpBench, { dtype, shape, span = 0, copies: wanted }: OpRunnerOptions) {
    this.#device = device;
    this.#bench = bench;
    const operands = new Operands(device, dtype);
    const build = (): Work => scope(() => bench.build(operands, shape));
    const first = withoutScope(build);
    const footprint = first.tensors.reduce((bytes, tensor) => bytes + (tensor ? bytesOf(tensor) : 0), 0);
    const copies = wanted ?? Math.min(mostCopies, Math.max(1, Math.ceil(span / Math.max(1, footprint))));
    this.#works = [first, ...Array.from({ length: copies - 1 }, () => withoutScope(build))];
    this.copies = copies;
    this.flops = first.flops ?? 0;
    this.bytes = first.bytes ?? leastTraffic(bench, first);
  }

  /** Calls the operation so many times, one after the other. @returns seconds of a call on the stream, waiting not included. */
  async run(calls: number): Promise<number> {
    await this.#device.synchronize(); // making the operands may take the same operation
    const before = this.#cost();
    for (let call = 0; call < calls; call++) {
      const { tensors, attributes = [] } = this.#works[this.#calls++ % this.copies]!;
      launch(this.#bench.op, tensors, attributes);
    }
    await this.#device.synchronize();
    const after = this.#cost();
    if (after.calls - before.calls !== calls) await this.#explainFailure();
    return (after.seconds - before.seconds) / calls;
  }

  dispose(): void {
    for (const { tensors } of this.#works) for (const tensor of tensors) tensor?.dispose();
  }

  #cost(): { calls: number; seconds: number } {
    return this.#device.profile().find(({ op }) => op === this.#bench.op) ?? { calls: 0, seconds: 0 };
  }

  /** A call that failed left its reason with what it should have written. */
  async #explainFailure(): Promise<never> {
    for (const { tensors } of this.#works) for (const tensor of tensors) await tensor?.readBytes();
    throw new Error(`Expected every call of ${this.#bench.op} to run but some did not`);
  }
}

/** Every input once, every output once, what is both twice. */
function leastTraffic({ op }: OpBench, { tensors }: Work): number {
  const contract = native.listOps('cpu').find(({ name }) => name === op) as OpContract;
  const { length } = contract.tensors;
  return tensors.reduce((bytes, tensor, index) => {
    const place = index < length ? index : length - contract.groupTensors + ((index - length) % contract.groupTensors);
    return bytes + (tensor ? bytesOf(tensor) * (contract.tensors[place]!.access === 'inout' ? 2 : 1) : 0);
  }, 0);
}

/** One operation: its time, the least time it could take, and a peer's time beside it. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Device } from '../tensor/device.js';
import { lastLevelCacheBytes } from './cache_size.js';
import { type Floor, floorOf } from './floor.js';
import type { OpBench } from './op_bench.js';
import { OpRunner } from './op_runner.js';
import type { FloatDType } from './operands.js';
import { benchName } from './ops/index.js';
import { Peer, PeerUnavailable } from './peer.js';
import { bestRates, measureRates, type Rates } from './rates.js';
import { formatShape, type Shape } from './shape.js';
import { summarise, type Timing } from './timing.js';

/** Idle threads of who ran before spin for a while; nobody shall be measured beside them. */
const settleMilliseconds = 100;

/** More than the second-level cache of any GPU so far. */
const gpuCacheBytes = 128 * 2 ** 20;

export interface OpMeasurementOptions {
  readonly dtype: FloatDType;
  readonly shape: Shape;
  /** Samples, each the mean of enough calls to last `sampleSeconds`. */
  readonly samples: number;
  readonly sampleSeconds: number;
  /** The same operands every call, so that what fits stays in the caches, a quarter of a sample's calls before it untimed;
   * otherwise operands span twice the last-level cache. */
  readonly warm: boolean;
  readonly peers: readonly OpPeer[];
}

/** A process that answers `prepare`, `run` and `release`. */
export interface OpPeer {
  readonly name: string;
  /** What it does in place of an operation; undefined where it has no counterpart. */
  computes(bench: OpBench): string | undefined;
  /** @throws PeerUnavailable */
  start(): Promise<Peer>;
  /** What {@link start} gave is not needed for now. */
  release(process: Peer): Promise<void>;
}

/** @param command an interpreter and its program, of benchmarks/peers. @param env variables beside this process's own. */
export function commandPeer(
  name: string,
  command: readonly [interpreter: string, program: string, ...args: string[]],
  computes: OpPeer['computes'],
  env: NodeJS.ProcessEnv = {},
): OpPeer {
  return { name, computes, start: () => Peer.start(command, env), release: (process) => process.stop() };
}

export function torchPeer(python: string): OpPeer {
  return commandPeer('torch', [python, 'torch_op.py'], ({ peer }) => peer);
}

/** A peer whose process is kept for the next operation, since starting one takes seconds. */
export class KeptPeer implements OpPeer {
  readonly name: string;
  readonly #peer: OpPeer;
  #process: Peer | null = null;

  constructor(peer: OpPeer) {
    this.name = peer.name;
    this.#peer = peer;
  }

  computes(bench: OpBench): string | undefined {
    return this.#peer.computes(bench);
  }

  async start(): Promise<Peer> {
    if (!this.#process || this.#process.ended) this.#process = await this.#peer.start();
    return this.#process;
  }

  async release(process: Peer): Promise<void> {
    if (!process.ended) await process.ask({ task: 'release' });
  }

  async stop(): Promise<void> {
    if (this.#process) await this.#peer.release(this.#process);
  }
}

/** A peer's times with `ratio`, its median over ours; or why there are none. */
export type PeerTiming =
  | { readonly name: string; readonly computes: string; readonly time: Timing; readonly ratio: number }
  | { readonly name: string; readonly unavailable: string };

export interface OpMeasurement {
  readonly benchmark: string;
  readonly shape: Shape;
  readonly dtype: FloatDType;
  readonly device: string;
  readonly threads: number;
  readonly instructionSet: string;
  readonly warm: boolean;
  /** Sets of operands that calls take in turn, and calls of a sample. */
  readonly copies: number;
  readonly calls: number;
  readonly rates: Rates;
  /** Seconds of a call on the stream. */
  readonly time: Timing;
  readonly floor: Floor;
  /** Floor over median; null where there is no floor: no matrix product, and operands that stay in a cache. */
  readonly fractionOfFloor: number | null;
  /** Of matrix products, at the median; null where there is none. */
  readonly gflops: number | null;
  readonly fractionOfPeak: number | null;
  /** Least traffic over the median. */
  readonly gigabytesPerSecond: number;
  readonly peers: readonly PeerTiming[];
}

/** Measures an operation, alternating sample by sample with the peers; rates are measured before and after. */
export async function measureOp(device: Device, bench: OpBench, options: OpMeasurementOptions): Promise<OpMeasurement> {
  const { dtype, shape, warm, samples } = options;
  const cache = device.name.startsWith('cpu') ? lastLevelCacheBytes() : gpuCacheBytes;
  const before = await measureRates(device);
  const runner = new OpRunner(device, bench, { dtype, shape, span: warm ? 0 : 2 * cache });
  const { threads, instructionSet } = device.statistics();
  const peers: Contender[] = [];
  try {
    await runner.run(runner.copies);
    const estimate = await runner.run(1);
    const calls = Math.min(10_000, Math.max(1, Math.ceil(options.sampleSeconds / Math.max(estimate, 1e-7))));
    for (const peer of options.peers)
      peers.push(await openPeer(peer, bench, { ...options, threads, copies: runner.copies, device: device.name }));
    // Who ran before has filled the caches with its own operands and let the clock change: that is no part of a warm call.
    const warmUp = warm ? Math.ceil(calls / 4) : 0;
    const ours: number[] = [];
    for (let sample = 0; sample < samples; sample++) {
      if (peers.length > 0) await sleep(settleMilliseconds);
      if (warmUp > 0) await runner.run(warmUp);
      ours.push(await runner.run(calls));
      for (const { process, seconds } of peers) {
        if (!process) continue;
        await sleep(settleMilliseconds);
        if (warmUp > 0) await process.ask({ task: 'run', calls: warmUp });
        seconds.push(await process.ask<number>({ task: 'run', calls }));
      }
    }
    const rates = bestRates(before, await measureRates(device));
    const time = summarise(ours);
    const { flops, bytes } = runner;
    const stays = warm && bytes <= cache;
    const floor = floorOf({ flops, bytes: stays ? 0 : bytes }, dtype, rates);
    return {
      benchmark: benchName(bench),
      shape,
      dtype,
      device: device.name,
      threads,
      instructionSet,
      warm,
      copies: runner.copies,
      calls,
      rates,
      time,
      floor,
      fractionOfFloor: floor.seconds > 0 ? floor.seconds / time.median : null,
      gflops: flops > 0 ? flops / time.median / 1e9 : null,
      fractionOfPeak: flops > 0 ? floor.operations / time.median : null,
      gigabytesPerSecond: bytes / time.median / 1e9,
      peers: peers.map((peer) => timingOf(peer, time)),
    };
  } finally {
    for (const { peer, process } of peers) if (process) await peer.release(process);
    runner.dispose();
  }
}

/** A peer that takes part, or the reason why it does not. */
interface Contender {
  readonly peer: OpPeer;
  readonly name: string;
  readonly computes: string;
  readonly process: Peer | null;
  readonly unavailable: string;
  readonly seconds: number[];
}

async function openPeer(
  peer: OpPeer,
  bench: OpBench,
  { dtype, shape, threads, copies, device }: OpMeasurementOptions & { threads: number; copies: number; device: string },
): Promise<Contender> {
  const does = peer.computes(bench);
  const absent = { peer, name: peer.name, computes: '', process: null, seconds: [] };
  if (does === undefined) return { ...absent, unavailable: 'it has no counterpart' };
  let process: Peer | null = null;
  try {
    process = await peer.start();
    const hardware = device.startsWith('cuda:') ? { device } : {}; // the CPU otherwise
    await process.ask({ task: 'prepare', op: bench.op, dtype, shape, threads, copies, ...hardware });
    await process.ask({ task: 'run', calls: copies });
    return { ...absent, name: process.name, computes: does, process, unavailable: '' };
  } catch (error) {
    if (process) await peer.release(process);
    if (error instanceof PeerUnavailable) return { ...absent, unavailable: error.message };
    throw error;
  }
}

function timingOf({ name, computes, process, unavailable, seconds }: Contender, ours: Timing): PeerTiming {
  if (process === null) return { name, unavailable };
  const time = summarise(seconds);
  return { name, computes, time, ratio: time.median / ours.median };
}

/** `matmul M=64,N=1536,K=576 bf16` */
export function titleOf({ benchmark, shape, dtype }: Pick<OpMeasurement, 'benchmark' | 'shape' | 'dtype'>): string {
  return `${benchmark} ${formatShape(shape)} ${dtype}`;
}

/** One operation: its time, the least time it could take, and a peer's time beside it. */
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

export interface OpMeasurementOptions {
  readonly dtype: FloatDType;
  readonly shape: Shape;
  /** Samples, each the mean of enough calls to last `sampleSeconds`. */
  readonly samples: number;
  readonly sampleSeconds: number;
  /** The same operands every call, so that what fits stays in the caches; otherwise they span twice the last-level cache. */
  readonly warm: boolean;
  /** The interpreter of the torch peer; null: no peer. */
  readonly python: string | null;
}

/** A peer's times, or why there are none. */
export type PeerTiming =
  | { readonly name: string; readonly computes: string; readonly time: Timing; readonly ratio: number }
  | { readonly unavailable: string };

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
  /** With `ratio`: the peer's median over ours. Null when none was asked for. */
  readonly peer: PeerTiming | null;
}

/** Measures an operation, alternating sample by sample with the peer; rates are measured before and after. */
export async function measureOp(device: Device, bench: OpBench, options: OpMeasurementOptions): Promise<OpMeasurement> {
  const { dtype, shape, warm, samples } = options;
  const cache = lastLevelCacheBytes();
  const before = await measureRates(device);
  const runner = new OpRunner(device, bench, { dtype, shape, span: warm ? 0 : 2 * cache });
  const { threads, instructionSet } = device.statistics();
  let opened: Opened | null = null;
  try {
    await runner.run(runner.copies);
    const estimate = await runner.run(1);
    const calls = Math.min(10_000, Math.max(1, Math.ceil(options.sampleSeconds / Math.max(estimate, 1e-7))));
    opened = await openPeer(bench, { ...options, threads, copies: runner.copies });
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let sample = 0; sample < samples; sample++) {
      ours.push(await runner.run(calls));
      if (opened && 'peer' in opened) theirs.push(await opened.peer.ask<number>({ task: 'run', calls }));
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
      peer: timingOf(opened, bench, theirs, time),
    };
  } finally {
    if (opened && 'peer' in opened) await opened.peer.stop();
    runner.dispose();
  }
}

type Opened = { peer: Peer } | { unavailable: string };

interface PeerOptions extends OpMeasurementOptions {
  readonly threads: number;
  readonly copies: number;
}

async function openPeer(bench: OpBench, options: PeerOptions): Promise<Opened | null> {
  const { python, dtype, shape, threads, copies } = options;
  if (python === null) return null;
  if (bench.peer === undefined) return { unavailable: 'torch has no counterpart' };
  let peer: Peer | null = null;
  try {
    peer = await Peer.start([python, 'torch_op.py']);
    await peer.ask({ task: 'prepare', op: bench.op, dtype, shape, threads, copies });
    await peer.ask({ task: 'run', calls: copies });
    return { peer };
  } catch (error) {
    await peer?.stop();
    if (error instanceof PeerUnavailable) return { unavailable: error.message };
    throw error;
  }
}

function timingOf(opened: Opened | null, bench: OpBench, theirs: readonly number[], ours: Timing): PeerTiming | null {
  if (opened === null || 'unavailable' in opened) return opened;
  const time = summarise(theirs);
  return { name: opened.peer.name, computes: bench.peer!, time, ratio: time.median / ours.median };
}

/** `matmul M=64,N=1536,K=576 bf16` */
export function titleOf({ benchmark, shape, dtype }: Pick<OpMeasurement, 'benchmark' | 'shape' | 'dtype'>): string {
  return `${benchmark} ${formatShape(shape)} ${dtype}`;
}

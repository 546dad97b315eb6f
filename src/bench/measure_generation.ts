/** The engine on a workload of one length: time, floor, where the time goes, and transformers beside it. */
import type { LoadedModel } from '../nn/load.js';
import { type Floor, floorOf } from './floor.js';
import { engineGenerator, type Generator, generationWork, transformersGenerator } from './generation.js';
import type { PeerTiming } from './measure_op.js';
import { PeerUnavailable } from './peer.js';
import { bestRates, measureRates, type Rates } from './rates.js';
import type { Shape } from './shape.js';
import { summarise, type Timing } from './timing.js';
import { uniformWorkload } from './workload.js';

export const generationShape: Shape = { requests: 32, input: 128, output: 128 };

export interface GenerationMeasurement {
  readonly benchmark: 'generate';
  readonly model: string;
  readonly shape: Shape;
  readonly dtype: 'f32' | 'bf16';
  readonly device: string;
  readonly threads: number;
  readonly instructionSet: string;
  readonly rates: Rates;
  /** Seconds from the first request in to the last completion out, prompts included. */
  readonly time: Timing;
  readonly floor: Floor;
  readonly fractionOfFloor: number;
  /** Generated tokens per second, at the median. */
  readonly outputTokensPerSecond: number;
  readonly gflops: number;
  readonly gigabytesPerSecond: number;
  /** Of the last run: steps, shares of their time in which no kernel runs and that are spent in JavaScript, preemptions. */
  readonly details: Readonly<Record<string, number>>;
  /** Share of the stream's time by operation, the costliest first. */
  readonly profile: readonly { op: string; calls: number; seconds: number; share: number }[];
  readonly peers: readonly PeerTiming[];
}

export interface GenerationMeasurementOptions {
  readonly shape: Shape;
  readonly samples: number;
  /** The interpreter of the transformers peer; null: no peer. */
  readonly python: string | null;
}

export async function measureGeneration(
  loaded: LoadedModel,
  { shape, samples, python }: GenerationMeasurementOptions,
): Promise<GenerationMeasurement> {
  const { model, files } = loaded;
  const { device, dtype } = model;
  const workload = uniformWorkload(shape.requests!, shape.input!, shape.output!, model.config.vocabSize);
  const before = await measureRates(device);
  const ours = engineGenerator(loaded, { maxNumSeqs: shape.requests! });
  const { threads, instructionSet } = device.statistics();
  let peer: Generator | string | null = null;
  try {
    peer = python === null ? null : await startTransformers(python, files.path, threads, dtype, shape.requests!);
    const warmUp = uniformWorkload(shape.requests!, shape.input!, 2, model.config.vocabSize);
    await ours.run(warmUp);
    if (peer && typeof peer === 'object') await peer.run(warmUp);
    const seconds: number[] = [];
    const theirs: number[] = [];
    let details = {};
    const start = device.profile();
    for (let sample = 0; sample < samples; sample++) {
      const run = await ours.run(workload);
      seconds.push(run.seconds);
      details = run.details ?? {};
      if (peer && typeof peer === 'object') theirs.push((await peer.run(workload)).seconds);
    }
    const profile = difference(device.profile(), start);
    const rates = bestRates(before, await measureRates(device));
    const time = summarise(seconds);
    const work = generationWork(model, workload);
    const floor = floorOf(work, dtype, rates);
    return {
      benchmark: 'generate',
      model: files.name,
      shape,
      dtype,
      device: device.name,
      threads,
      instructionSet,
      rates,
      time,
      floor,
      fractionOfFloor: floor.seconds / time.median,
      outputTokensPerSecond: (shape.requests! * shape.output!) / time.median,
      gflops: work.flops / time.median / 1e9,
      gigabytesPerSecond: work.bytes / time.median / 1e9,
      details,
      profile,
      peers: timingsOf(peer, theirs, time),
    };
  } finally {
    if (peer && typeof peer === 'object') await peer.stop();
    await ours.stop();
  }
}

async function startTransformers(
  python: string,
  path: string,
  threads: number,
  dtype: 'f32' | 'bf16',
  batch: number,
): Promise<Generator | string> {
  try {
    return await transformersGenerator(python, { path, threads }, dtype, batch);
  } catch (error) {
    if (error instanceof PeerUnavailable) return error.message;
    throw error;
  }
}

function timingsOf(peer: Generator | string | null, theirs: readonly number[], ours: Timing): PeerTiming[] {
  if (peer === null) return [];
  if (typeof peer === 'string') return [{ name: 'transformers', unavailable: peer }];
  const time = summarise(theirs);
  return [{ name: peer.name, computes: 'generate, greedy, one batch', time, ratio: time.median / ours.median }];
}

type Costs = readonly { op: string; calls: number; seconds: number }[];

function difference(after: Costs, before: Costs): GenerationMeasurement['profile'] {
  const costs = after
    .map(({ op, calls, seconds }) => {
      const start = before.find((cost) => cost.op === op);
      return { op, calls: calls - (start?.calls ?? 0), seconds: seconds - (start?.seconds ?? 0) };
    })
    .filter(({ calls }) => calls > 0);
  const total = costs.reduce((sum, { seconds }) => sum + seconds, 0);
  return costs.map((cost) => ({ ...cost, share: cost.seconds / total })).sort((a, b) => b.seconds - a.seconds);
}

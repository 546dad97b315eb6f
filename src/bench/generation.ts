/** Whole generation: this engine and its peers on one workload, greedy, and the least time it can take. */
import { basename, dirname } from 'node:path';
import { Engine, type EngineModel, type EngineOptions } from '../engine/engine.js';
import { formatStatistics } from '../engine/statistics.js';
import type { CausalLM } from '../nn/model.js';
import { QuantisedWeight } from '../ops/quantised.js';
import type { Device } from '../tensor/device.js';
import { dtypeSize } from '../tensor/dtype.js';
import { Peer } from './peer.js';
import type { Workload } from './workload.js';

export interface GenerationRun {
  readonly seconds: number;
  /** What was generated, by request. */
  readonly tokens: readonly (readonly number[])[];
  /** What else there is to say, for the results. */
  readonly details?: Readonly<Record<string, number>>;
}

/** An implementation with its model loaded; it computes only while `run` is awaited. */
export interface Generator {
  readonly name: string;
  /** Sizes and settings that its speed depends on. */
  readonly settings: Readonly<Record<string, unknown>>;
  run(workload: Workload): Promise<GenerationRun>;
  /** How far it is, for whoever waits. */
  state?(): string;
  stop(): Promise<void>;
}

/** This engine. The prefix cache is off, since the same prompts come again. It borrows the model. */
export function engineGenerator(loaded: EngineModel, options: EngineOptions = {}): Generator {
  const engine = Engine.create(loaded, { ...options, enablePrefixCaching: false });
  const { dtype, device } = loaded.model;
  let ended = 0;
  let requested = 0;
  return {
    name: `compress-distill ${dtype}`,
    settings: { dtype, threads: device.statistics().threads, report: engine.startupReport(), ...options },
    state: () => `${ended} of ${requested} requests · ${formatStatistics(engine.statistics())}`,
    async run({ prompts, outputs }) {
      ended = 0;
      requested = prompts.length;
      const before = engine.statistics();
      const kernelsBefore = kernelSeconds(device);
      const requests = prompts.map((prompt, index) => ({
        id: String(index),
        prompt,
        sampling: { temperature: 0, maxTokens: outputs[index]!, ignoreEos: true },
      }));
      const tokens = new Array<readonly number[]>(prompts.length);
      const begin = performance.now();
      for await (const { id, tokens: generated, finishReason, error } of engine.generate(requests)) {
        if (finishReason !== 'length') throw new Error(`Request ${id} ended with ${error ?? finishReason}`);
        tokens[Number(id)] = generated;
        ended += 1;
      }
      const seconds = (performance.now() - begin) / 1000;
      const after = engine.statistics();
      const busy = after.busySeconds - before.busySeconds;
      const kernels = kernelSeconds(device) - kernelsBefore;
      return {
        seconds,
        tokens,
        details: {
          steps: after.steps - before.steps,
          schedulingShare: (after.overheadSeconds - before.overheadSeconds) / busy,
          idleShare: (after.idleSeconds - before.idleSeconds) / busy,
          noKernelShare: 1 - kernels / busy,
          prefillTokens: after.prefillTokens - before.prefillTokens,
          preemptions: after.preemptions - before.preemptions,
        },
      };
    },
    stop: () => engine.close(),
  };
}

/** Time that operations have taken on the device's stream. */
function kernelSeconds(device: Device): number {
  return device.profile().reduce((sum, { seconds }) => sum + seconds, 0);
}

export interface PeerModel {
  /** A GGUF file or a folder as transformers writes it. */
  readonly path: string;
  readonly threads: number;
}

/** transformers' `generate` with static batches of `batch` requests, sorted by length. @throws PeerUnavailable */
export async function transformersGenerator(
  python: string,
  { path, threads }: PeerModel,
  dtype: 'f32' | 'bf16',
  batch: number,
): Promise<Generator> {
  const model = path.endsWith('.gguf') ? { folder: dirname(path), gguf: basename(path) } : { folder: path, gguf: null };
  return peerGenerator([python, 'transformers_generate.py'], { ...model, dtype, threads, batch }, dtype);
}

/** llama.cpp through node-llama-cpp on a GGUF file as it is. @throws PeerUnavailable */
export async function llamaGenerator(
  { path, threads }: PeerModel,
  sequences: number,
  contextSize: number,
  batchSize: number,
): Promise<Generator> {
  return peerGenerator([process.execPath, 'llama.mjs'], { path, threads, sequences, contextSize, batchSize }, null);
}

async function peerGenerator(
  command: [string, string],
  settings: Record<string, unknown>,
  suffix: string | null,
): Promise<Generator> {
  const peer = await Peer.start(command);
  try {
    const said = await peer.ask<object>({ task: 'load', ...settings });
    return {
      name: suffix === null ? peer.name : `${peer.name} ${suffix}`,
      settings: { ...settings, ...said },
      run: (workload) => peer.ask<GenerationRun>({ task: 'generate', ...workload }),
      stop: () => peer.stop(),
    };
  } catch (error) {
    await peer.stop();
    throw error;
  }
}

/** Bytes of the weights that every step reads: all but the rows of the embedding that it looks up. */
export function stepWeightBytes({ linears, outputWeight }: CausalLM): number {
  let bytes = outputWeight.size * dtypeSize[outputWeight.dtype];
  for (const { weight } of linears.values())
    bytes += weight instanceof QuantisedWeight ? weight.bytes : weight.size * dtypeSize[weight.dtype];
  return bytes;
}

/** Bytes of keys and values of a token. */
export function kvBytesPerToken({ config, dtype }: CausalLM): number {
  return 2 * config.numLayers * config.numKvHeads * config.headDim * dtypeSize[dtype];
}

/**
 * What must be computed and moved: every linear layer for every token but the last of each request, the head for every
 * generated token, attention over what each token sees; weights once a step with all requests in every step, keys and values
 * once a generated token.
 */
export function generationWork(model: CausalLM, { prompts, outputs }: Workload): { flops: number; bytes: number } {
  const { config } = model;
  let linear = 0;
  for (const { weight } of model.linears.values()) linear += weight.size;
  let flops = 0;
  let bytes = stepWeightBytes(model) * Math.max(0, ...outputs);
  for (const [index, { length: input }] of prompts.entries()) {
    const output = outputs[index]!;
    const tokens = input + output - 1;
    flops += 2 * linear * tokens + 2 * model.outputWeight.size * output;
    flops += 4 * config.headDim * config.numHeads * config.numLayers * ((tokens * (tokens + 1)) / 2);
    bytes += kvBytesPerToken(model) * ((tokens * (tokens + 1) - input * (input + 1)) / 2);
  }
  return { flops, bytes };
}

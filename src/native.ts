/**
 * The typed mirror of the addon, one to one with native/addon.cpp. Nothing else loads the addon.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export type OpName =
  | 'fill'
  | 'copy'
  | 'add'
  | 'scale'
  | 'mul'
  | 'exp'
  | 'sum'
  | 'sum_squares'
  | 'clip_factor'
  | 'silu_mul'
  | 'silu_mul_backward'
  | 'dropout'
  | 'embedding'
  | 'embedding_backward'
  | 'local_ids'
  | 'rms_norm'
  | 'rms_norm_backward'
  | 'rotary_table'
  | 'rotary'
  | 'adamw'
  | 'adamw_8bit'
  | 'sample'
  | 'take_sampled'
  | 'matmul'
  | 'attention'
  | 'attention_backward'
  | 'kv_write'
  | 'paged_attention'
  | 'token_logprobs'
  | 'token_logprobs_backward'
  | 'linear_cross_entropy'
  | 'merge_logprobs'
  | 'all_reduce'
  | 'all_gather'
  | 'reduce_scatter'
  | 'broadcast'
  | 'quantised_matmul'
  | 'dequantise'
  | 'add_rms_norm'
  | 'matmul_low_rank';

export interface OpContract {
  name: OpName;
  /** The folder of kernels/ that holds contract and kernels. */
  folder: string;
  tensors: { name: string; access: 'in' | 'out' | 'inout'; optional: boolean }[];
  attributes: string[];
  /** The last so many tensors and attributes are a group: a call brings one or more groups, one after another. */
  groupTensors: number;
  groupAttributes: number;
  /** Whether the back end has a kernel for it. */
  implemented: boolean;
}

export interface WeightEntry {
  name: string;
  dtype: string;
  shape: number[];
  /** From the start of the file. */
  offset: number;
  bytes: number;
}

export interface DeviceStatistics {
  liveTensors: number;
  liveBytes: number;
  peakBytes: number;
  /** Bytes taken from the system for tensors, cached blocks included. */
  reservedBytes: number;
  /** Bytes taken from the system beside them, for what operations need while they run. */
  scratchBytes: number;
  /** Replays of recordings that ran as a graph. */
  graphReplays: number;
  threads: number;
  /** The back end in use: an instruction set of the CPU, or `cuda`. */
  instructionSet: string;
  /** What the hardware is and has; null for the CPU. */
  accelerator: { description: string; freeBytes: number; totalBytes: number } | null;
}

export type BackendName = 'cpu' | 'cuda' | 'cuda-emulated';

export interface Native {
  /** @throws when the back end is not available, with the remedy. */
  listOps(backend: BackendName): OpContract[];
  listInstructionSets(): string[];
  /**
   * Libraries that the CUDA plug-in looks for, with or without a driver; `path` is empty where one was not found.
   * @throws when the plug-in was not built.
   */
  cudaLibraries(): { title: string; path: string; problem: string }[];
  openDevice(
    backend: BackendName,
    index: number,
    threads: number,
    memoryLimit: number,
    chaos: boolean,
    profile: boolean,
    commandBuffer: Float64Array,
  ): number;
  closeDevice(device: number): void;
  describeDevice(device: number): DeviceStatistics;
  /** Per operation, in the order of {@link listOps}: calls and nanoseconds on the stream since the device was opened. */
  profile(device: number): Float64Array;
  allocate(device: number, bytes: number): number;
  release(device: number, handle: number): void;
  failAllocationsAfter(device: number, allocations: number): void;
  enqueue(device: number, trace?: string): void;
  /**
   * Until {@link Native.stopRecording}, operations are kept and not run; uploads, reads and waits are refused. Memory comes from a
   * pool that is the recording's own (`sharing` −1) or that of another one.
   */
  startRecording(device: number, sharing: number): void;
  /** @returns the number of the recording. */
  stopRecording(device: number): number;
  replay(device: number, recording: number): void;
  releaseRecording(device: number, recording: number): void;
  write(device: number, handle: number, byteOffset: number, bytes: Uint8Array): void;
  read(device: number, handle: number, byteOffset: number, byteLength: number): Promise<ArrayBuffer>;
  synchronize(device: number): Promise<void>;
  /** Writes an f64 to a storage's start: 0 f32 and 1 bf16 multiply-adds (FLOP/s), 2 copy and 3 read bandwidth (bytes/s). */
  measureRate(device: number, handle: number, rate: 0 | 1 | 2 | 3): void;
  joinCommunicator(
    device: number,
    name: string,
    rank: number,
    size: number,
    timeoutSeconds: number,
    warnAfterSeconds: number,
    processOf: readonly number[],
  ): number;
  /** Opens the port at which ranks of other processes reach those of this one. @returns its number */
  listenForPeers(): number;
  /** Process p of the run is at `addresses[p]`, `host:port`, and this one is `own`. @param token keeps strangers out */
  introducePeers(token: string, own: number, addresses: readonly string[]): void;
  /** Fails all groups of this process that have ranks in other ones. */
  failCommunicators(why: string): void;
  leaveCommunicator(device: number, communicator: number): void;
  /** Received from other ranks' memory or processes; 0 where a library of the accelerator moves them. */
  communicatorBytes(device: number, communicator: number): number;
  /** What every error holds that a rank has because another one has left. */
  readonly othersCannotGoOn: string;
  openWeights(path: string): { file: number; format: string; entries: WeightEntry[]; metadata: string };
  readWeights(
    device: number,
    file: number,
    entry: number,
    handle: number,
    byteOffset: number,
    dtype: number,
    unpermuteHeads: number,
    firstRow: number,
    rows: number,
    firstColumn: number,
    columns: number,
  ): void;
  closeWeights(file: number): void;
}

/** The folder that holds package.json, whether this file runs from src/ or from dist/src/. */
export const packageRoot: string = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();

function load(): Native {
  const path = join(packageRoot, 'build', 'Release', 'compress_distill.node');
  if (!existsSync(path)) throw new Error(`The native addon is not built (${path}); build it with \`npm run build\``);
  return createRequire(import.meta.url)(path) as Native;
}

export const native: Native = load();

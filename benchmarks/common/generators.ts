/** This engine in bf16 and f32, llama.cpp and transformers, all on the weights of one file. */
import { engineGenerator, type Generator, llamaGenerator, transformersGenerator } from '../../src/bench/generation.js';
import type { EngineOptions } from '../../src/engine/engine.js';
import { UserError } from '../../src/errors.js';
import { type LoadedModel, loadModel } from '../../src/nn/load.js';
import type { Device } from '../../src/tensor/device.js';
import { type Contest, type Starts, startContest } from './contest.js';

export const generatorOptions = {
  model: ['smollm2-135m-instruct', 'a GGUF file or a fetched name'],
  threads: [0, 'of everybody; 0: every core'],
  python: ['python3', 'interpreter of the transformers peer'],
  ours: ['bf16,f32', 'dtypes of ours, the first of which the others are compared with'],
  peers: ['all', 'llama, transformers-bf16, transformers-f32 with commas between; all; none'],
  out: ['benchmarks/results', 'folder of the results'],
} as const;

export interface Sizes {
  readonly engine: EngineOptions;
  readonly transformersBatch: number;
  readonly llama: { readonly sequences: number; readonly contextSize: number; readonly batchSize: number };
}

export interface OpenedContest extends Contest<Generator> {
  /** Ours come first among the contenders. */
  readonly ours: readonly LoadedModel[];
  close(): Promise<void>;
}

export async function openGenerators(
  device: Device,
  { model, python, ours: dtypes, peers }: { model: string; python: string; ours: string; peers: string },
  sizes: Sizes,
): Promise<OpenedContest> {
  const ours: LoadedModel[] = [];
  for (const dtype of dtypes.split(',')) {
    if (dtype !== 'bf16' && dtype !== 'f32')
      throw new UserError(`Expected '--ours' to be bf16, f32 or both with a comma between but received '${dtypes}'`);
    ours.push(await loadModel(model, { device, dtype }));
  }
  const { path } = ours[0]!.files;
  const peer = { path, threads: device.statistics().threads };
  const { sequences, contextSize, batchSize } = sizes.llama;
  const starts: Starts<Generator> = {
    llama: () => llamaGenerator(peer, sequences, contextSize, batchSize),
    'transformers-bf16': () => transformersGenerator(python, peer, 'bf16', sizes.transformersBatch),
    'transformers-f32': () => transformersGenerator(python, peer, 'f32', sizes.transformersBatch),
  };
  const { contenders, absent } = await startContest(starts, peers);
  const all = [...ours.map((loaded) => engineGenerator(loaded, sizes.engine)), ...contenders];
  return {
    ours,
    contenders: all,
    absent,
    async close() {
      for (const contender of all) await contender.stop();
      for (const { model } of ours) model.dispose();
    },
  };
}

/** How many tokens of each request agree before the first that differs: its share of all tokens. */
export function agreement(tokens: readonly (readonly number[])[], expected: readonly (readonly number[])[]): number {
  let equal = 0;
  let total = 0;
  for (const [request, row] of expected.entries()) {
    const differs = row.findIndex((token, index) => token !== tokens[request]![index]);
    equal += differs < 0 ? row.length : differs;
    total += row.length;
  }
  return equal / total;
}

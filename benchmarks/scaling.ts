/** CPU ranks beside one rank, with the same threads in all: what data parallelism, tensor parallelism and full sharding cost. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { summarise } from '../src/bench/timing.js';
import { uniformWorkload, type Workload } from '../src/bench/workload.js';
import type { MeshShape } from '../src/distributed/mesh_shape.js';
import { Replicas } from '../src/distributed/replicas.js';
import { parseTrainConfig } from '../src/training/config.js';
import { train } from '../src/training/train.js';
import { resolveModel } from '../src/weights/model_files.js';
import { takeTurns } from './common/contest.js';
import { readOptions } from './common/options.js';
import { runBenchmark } from './common/run.js';

const options = readOptions({
  model: ['smollm2-135m-instruct', 'a GGUF file, a folder or a fetched name'],
  dtype: ['bf16', 'bf16 or f32'],
  threads: [0, 'of all ranks together; 0: every core'],
  tp: [3, "ranks of tensor parallelism, which the model's heads divide by"],
  requests: [32, 'of the generation'],
  input: [128, 'prompt tokens of each'],
  output: [64, 'tokens that each generates'],
  rounds: [3, 'runs of each generation'],
  sequence: [512, 'tokens of a pack of the training; four make a step'],
  steps: [4, 'measured of each training, after one that is not'],
  out: ['benchmarks/results', 'folder of the results'],
});
const packsOfAStep = 4;

const meshes: { name: string; mesh: MeshShape; fullyShard?: boolean }[] = [
  { name: 'one rank', mesh: { dp: 1, tp: 1 } },
  { name: 'dp 2', mesh: { dp: 2, tp: 1 } },
  { name: `tp ${options.tp}`, mesh: { dp: 1, tp: options.tp } },
  { name: 'dp 2, fully sharded', mesh: { dp: 2, tp: 1 }, fullyShard: true },
];

async function generation(threads: number) {
  const files = await resolveModel(options.model);
  files.weights.close();
  const workload = uniformWorkload(options.requests, options.input, options.output, Number(files.config.vocab_size));
  const contenders = [];
  try {
    for (const { name, mesh, fullyShard } of meshes) {
      if (fullyShard) continue;
      const engine = await Replicas.create(mesh, {
        model: options.model,
        device: 'cpu',
        dtype: options.dtype as 'bf16' | 'f32',
        threads,
        engine: { enablePrefixCaching: false },
      });
      contenders.push({ name, engine, run: () => generate(engine, workload), stop: () => engine.close() });
    }
    const runs = await takeTurns(contenders, options.rounds + 1, (contender) => contender.run());
    const tokens = options.requests * options.output;
    return contenders.map(({ name }, index) => ({
      name,
      tokens,
      time: summarise(runs[index]!.slice(1)),
    }));
  } finally {
    for (const { stop } of contenders) await stop();
  }
}

/** @returns seconds */
async function generate(engine: Replicas, { prompts, outputs }: Workload): Promise<number> {
  const requests = prompts.map((prompt, index) => ({
    id: String(index),
    prompt,
    sampling: { temperature: 0, maxTokens: outputs[index]!, ignoreEos: true },
  }));
  const begin = performance.now();
  for await (const { id, finishReason, error } of engine.generate(requests))
    if (finishReason !== 'length') throw new Error(`Request ${id} ended with ${error ?? finishReason}`);
  return (performance.now() - begin) / 1000;
}

async function training(threads: number) {
  const folder = await mkdtemp(join(tmpdir(), 'scaling-'));
  try {
    const data = join(folder, 'data.jsonl');
    const row = (index: number) => ({
      messages: [
        { role: 'user', content: `Count from ${index}.` },
        { role: 'assistant', content: Array.from({ length: 60 }, (_, step) => index + step).join(' ') },
      ],
    });
    await writeFile(data, Array.from({ length: 400 }, (_, index) => `${JSON.stringify(row(index))}\n`).join(''));
    const measured = [];
    for (const { name, mesh, fullyShard = false } of meshes) {
      const seconds: number[] = [];
      const losses: number[] = [];
      let tokens = 0;
      const settings = {
        ...{ model: options.model, data, output: join(folder, name), tokenisedFolder: join(folder, 'tokenised') },
        ...{ method: 'full', dtype: options.dtype, optimizer: 'adamw', learningRate: 2e-5, threads, mesh, fullyShard },
        ...{
          sequenceLength: options.sequence,
          gradientAccumulation: packsOfAStep,
          maxSteps: options.steps + 1,
          epochs: 100,
        },
        ...{ checkpointEvery: 0, validationSplit: 0 },
      };
      await train(parseTrainConfig(settings), {
        onStep: (step) => {
          seconds.push(step.tokens / step.tokensPerSecond);
          losses.push(step.loss);
          tokens = step.tokens;
        },
      });
      measured.push({ name, tokens, losses, time: summarise(seconds.slice(1)) });
    }
    return measured;
  } finally {
    await rm(folder, { recursive: true });
  }
}

await runBenchmark(
  options,
  async (device) => {
    const { threads } = device.statistics();
    return { threads, generation: await generation(threads), training: await training(threads) };
  },
  ({ threads, generation, training }) => {
    const table = (title: string, measured: typeof generation) => ({
      title,
      columns: ['', 'tokens/s', 'best', 'of one rank'],
      rows: measured.map(({ name, tokens, time }) => [
        name,
        (tokens / time.median).toFixed(1),
        (tokens / time.best).toFixed(1),
        (measured[0]!.time.median / time.median).toFixed(2),
      ]),
    });
    return {
      name: 'scaling',
      title: `CPU ranks beside one rank: ${threads} threads in all`,
      conditions: { Model: options.model, Settings: options },
      tables: [table('Generation', generation), table('Full fine-tuning', training)],
      notes: [
        `Generation: ${options.requests} requests of ${options.input} tokens in, ${options.output} out; median of ${options.rounds} runs after one that is not measured, in turn.`,
        `Training: ${packsOfAStep} packs of ${options.sequence} tokens a step; median of ${options.steps} steps after one that is not measured, one training after another.`,
        ...(options.tp > threads ? [`tp ${options.tp} has a thread for each rank, so more than the others.`] : []),
        'All ranks share the machine and its memory, so more of them cannot be faster: what is missing to 1 is what it costs to be several.',
      ],
      data: { generation, training },
    };
  },
);

/** Fine-tuning, full and LoRA, on one packed batch: tokens a second beside torch with transformers and peft. */
import { summarise } from '../src/bench/timing.js';
import { uniformWorkload } from '../src/bench/workload.js';
import type { ActivationCheckpointing } from '../src/nn/context.js';
import { loadModel } from '../src/nn/load.js';
import type { Device } from '../src/tensor/device.js';
import { resolveModel } from '../src/weights/model_files.js';
import { absenceNotes, startContest, takeTurns } from './common/contest.js';
import { readOptions } from './common/options.js';
import { runBenchmark } from './common/run.js';
import {
  ourTrainer,
  type TorchPrecision,
  type TrainingContender,
  type TrainingSetup,
  torchTrainer,
} from './common/trainers.js';

const options = readOptions({
  model: ['smollm2-135m-instruct', 'a GGUF file, a folder or a fetched name'],
  methods: ['full,lora', 'full, lora'],
  tokens: [2048, 'of a step, all documents together'],
  document: [512, 'tokens of a document; divides tokens'],
  rank: [64, 'of LoRA'],
  dropout: [0.05, 'of LoRA'],
  checkpointing: ['none', 'none, selective or layer; torch checkpoints layers unless it is none'],
  steps: [4, 'measured, after one that is not'],
  threads: [0, 'of everybody; 0: every core'],
  python: ['python3', 'interpreter of the torch peer'],
  peers: ['all', 'torch-f32, torch-bf16, torch-autocast with commas between; all; none'],
  out: ['benchmarks/results', 'folder of the results'],
});
const warmUpSteps = 1;

/** Whoever trains with one method: ours in bf16 first, each with weights of its own. */
async function compare(device: Device, method: 'full' | 'lora') {
  const files = await resolveModel(options.model);
  files.weights.close();
  const vocabSize = Number(files.config.vocab_size);
  const setup: TrainingSetup = {
    method,
    documents: uniformWorkload(options.tokens / options.document, options.document, 0, vocabSize).prompts,
    rank: options.rank,
    dropout: options.dropout,
    learningRate: method === 'lora' ? 2e-4 : 2e-5,
    activationCheckpointing: options.checkpointing as ActivationCheckpointing,
  };
  const { threads } = device.statistics();
  const torch = (precision: TorchPrecision) => () =>
    torchTrainer(options.python, files.path, threads, precision, setup);
  const contest = await startContest<TrainingContender>(
    { 'torch-f32': torch('f32'), 'torch-bf16': torch('bf16'), 'torch-autocast': torch('autocast') },
    options.peers,
  );
  const models = [];
  const ours: TrainingContender[] = [];
  try {
    for (const dtype of ['bf16', 'f32'] as const) {
      const loaded = await loadModel(options.model, {
        device,
        dtype,
        masters: (names) => (method === 'full' ? names : []),
      });
      models.push(loaded.model);
      ours.push(await ourTrainer(loaded, setup));
    }
    const contenders = [...ours, ...contest.contenders];
    const runs = await takeTurns(contenders, warmUpSteps + options.steps, (contender) => contender.step());
    const measured = contenders.map(({ name, settings, flops = null }, index) => ({
      name,
      settings,
      flops,
      time: summarise(runs[index]!.slice(warmUpSteps).map(({ seconds }) => seconds)),
      losses: runs[index]!.map(({ loss }) => loss),
    }));
    return { method, model: files.name, measured, notes: absenceNotes(contest) };
  } finally {
    for (const contender of [...ours, ...contest.contenders]) await contender.stop();
    for (const model of models) model.dispose();
  }
}

await runBenchmark(
  options,
  async (device) => {
    const results = [];
    for (const method of options.methods.split(',') as ('full' | 'lora')[]) results.push(await compare(device, method));
    return results;
  },
  (results, rates) => ({
    name: 'train',
    title: `Fine-tuning at ${options.tokens} tokens a step`,
    conditions: { Model: results[0]!.model, Settings: options },
    tables: results.flatMap(({ method, measured }) => [
      {
        title: method === 'lora' ? `LoRA, rank ${options.rank}, all linear layers` : 'Full fine-tuning',
        columns: ['', 'tokens/s', 'best', 'seconds a step', 'ours bf16 is faster by', 'of peak FLOP/s'],
        rows: measured.map(({ name, time, flops }) => [
          name,
          (options.tokens / time.median).toFixed(1),
          (options.tokens / time.best).toFixed(1),
          time.median.toFixed(2),
          (time.median / measured[0]!.time.median).toFixed(2),
          flops === null ? '' : `${((100 * flops.count) / time.median / rates.flops[flops.dtype]).toFixed(0)} %`,
        ]),
      },
      {
        title: `${method === 'lora' ? 'LoRA' : 'Full fine-tuning'}: loss of every step`,
        columns: ['', ...measured[0]!.losses.map((_, step) => `${step + 1}`)],
        rows: measured.map(({ name, losses }) => [name, ...losses.map((loss) => loss.toFixed(4))]),
      },
    ]),
    notes: [
      `Median of ${options.steps} steps after ${warmUpSteps} that is not measured, everybody in turn step by step: forward, backward, clipping to norm 1, AdamW.`,
      `${options.tokens / options.document} documents of ${options.document} random tokens: packed by ours, a batch without padding for torch, which needs no mask then.`,
      'Ours in bf16 keeps f32 master weights, gradients and optimizer state. torch bf16 keeps everything in bf16; autocast keeps f32 weights and multiplies in bf16.',
      'Of peak: operations of the matrix products (6N a token, LoRA 4N and the adapters; attention) over the measured multiply-add rate of that dtype.',
      'LoRA starts at random with B = 0, so first losses agree; dropout masks differ.',
      ...results[0]!.notes,
    ],
    data: { results },
  }),
);

/** How fast a student trains here: two steps, in a folder that goes again. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { meshSize } from '../distributed/mesh_shape.js';
import type { TrainConfig } from '../training/config.js';
import type { StepMetrics } from '../training/metrics.js';
import { train } from '../training/train.js';
import type { TrainingRates } from './rates.js';
import type { TextTokenizer, TrainingWork } from './services.js';
import { textOf } from './text_of.js';

/** One to set up, one to measure. */
const steps = 2;
/** A step is no faster for more tokens than these, unless a row has more. */
const mostTokens = 2048;

class Measured extends Error {}

/** The settings of a run of a few steps, each of them like the study's. */
function shortened(config: TrainConfig, length: number): TrainConfig {
  const sequenceLength = Math.min(config.sequenceLength, Math.max(mostTokens, 2 * Math.ceil(length)));
  const perStep = config.microBatch * sequenceLength * meshSize(config.mesh);
  const gradientAccumulation = Math.max(1, Math.min(config.gradientAccumulation, Math.floor(mostTokens / perStep)));
  return { ...config, sequenceLength, gradientAccumulation, validationSplit: 0, checkpointEvery: 0, resume: false };
}

/** On rows like the study's. */
export async function measureTraining(
  config: TrainConfig,
  tokenizer: TextTokenizer,
  { prompts, target, length }: TrainingWork,
): Promise<TrainingRates> {
  const folder = await mkdtemp(join(tmpdir(), 'measure-'));
  const short = shortened(config, length);
  const { sequenceLength, microBatch, gradientAccumulation, mesh } = short;
  const packs = steps * microBatch * gradientAccumulation * meshSize(mesh);
  // Half as many again: rows differ in length.
  const count = Math.ceil(1.5 * packs * Math.max(1, sequenceLength / length));
  const rows = Array.from({ length: count }, (_, index) => {
    const messages = prompts[index % prompts.length]!;
    const content = textOf(tokenizer, messages.at(-1)!.content, Math.max(1, target));
    return `${JSON.stringify({ id: String(index), messages: [...messages, { role: 'assistant', content }] })}\n`;
  });
  try {
    const data = join(folder, 'rows.jsonl');
    await writeFile(data, rows);
    return await timeSteps({ ...short, data: [data], tokenisedFolder: join(folder, 'tokenised') }, folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** How fast one device trains on a run's own rows, longer ones cut. Their tokens are kept for the run. */
export async function measureFile(config: TrainConfig): Promise<TrainingRates> {
  const folder = await mkdtemp(join(tmpdir(), 'measure-'));
  try {
    // As many epochs as there have to be for so many steps.
    const enough = { overlong: 'truncate', epochs: steps, maxSteps: steps } as const;
    return await timeSteps({ ...shortened(config, 0), ...enough }, folder);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Trains until a step has been measured. */
async function timeSteps(config: TrainConfig, folder: string): Promise<TrainingRates> {
  let rates: TrainingRates | null = null;
  const begin = performance.now();
  const onStep = ({ tokens, tokensPerSecond }: StepMetrics): void => {
    const setup = rates?.setup ?? (performance.now() - begin) / 1000 - tokens / tokensPerSecond;
    const known = rates !== null;
    rates = { tokensPerSecond, setup: Math.max(0, setup) };
    if (known) throw new Measured(); // Nothing is saved of a run that fails.
  };
  try {
    await train({ ...config, output: join(folder, 'out') }, { onStep });
  } catch (error) {
    if (!(error instanceof Measured)) throw error;
  }
  if (rates === null) throw new Error('Expected a step of training');
  return rates;
}

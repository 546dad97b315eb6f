/** Stage 3: one student trained on one arm. Its folder holds the rows it saw, the weights, metrics.jsonl and result.json. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { closureFingerprint } from '../import_closure.js';
import type { TrainConfig } from '../training/config.js';
import type { StepMetrics } from '../training/metrics.js';
import type { ArmData, TrainingRow } from './arms.js';
import type { StudentConfig } from './config.js';
import { modelFingerprint, requireMayRun, type StudyContext } from './context.js';
import { EnergyMeter } from './energy.js';
import { writeFileAtomically, writePiecesAtomically, writing } from './files.js';
import { fingerprint } from './identity.js';
import { throwIfInterrupted } from './interrupted.js';
import type { Meter } from './progress.js';
import type { Inputs } from './rounds.js';
import type { TrainedStudent } from './services.js';
import { tokeniseMeter } from './tokenise_meter.js';

export interface TrainingResult extends TrainedStudent {
  /** Identity of the trained weights: rows, settings, base model. */
  key: string;
  student: string;
  arm: string;
  rows: number;
  /** Tokens of one epoch that are trained, the paper's "training tokens". */
  tokensPerEpoch: number;
  epochs: number;
}

/** The folder with the weights, as `train` wrote them. */
export function weightsFolder(context: StudyContext, student: string, arm: string): string {
  return context.folder.file('students', student, arm, 'weights');
}

function readJson<T>(path: string): T | null {
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return null; // Cannot be trusted, so it is made again.
  }
}

/** How and where a training runs, which the weights do not depend on; model and data are named apart. */
const changesNothing: ReadonlySet<string> = new Set<keyof TrainConfig>([
  ...(['model', 'data', 'output', 'tokenisedFolder', 'resume'] as const),
  ...(['device', 'threads', 'mesh', 'fullyShard', 'activationCheckpointing'] as const),
  ...(['checkpointEvery', 'keepLast', 'validateEvery'] as const),
]);

/** The hash of the file that a setting names (a template, an adapter's weights, an objective with what it imports); null where it names none. */
function contentOf(value: unknown): string | null {
  if (typeof value !== 'string') return null;
  const path = [join(value, 'adapter_model.safetensors'), value].find((candidate) => existsSync(candidate));
  if (path === undefined || !statSync(path).isFile()) return null;
  if (['.ts', '.js', '.mjs'].includes(extname(path))) return closureFingerprint([path]);
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** What a training depends on: its identity, and the same by name. */
export async function identifyTraining(
  context: StudyContext,
  student: StudentConfig,
  data: ArmData,
): Promise<{ key: string; inputs: Inputs }> {
  const model = await modelFingerprint(context, student.model);
  const settings = Object.entries(student.training).filter(([name]) => !changesNothing.has(name));
  const hash = createHash('sha256');
  for (const row of data.rows()) hash.update(JSON.stringify(row));
  const inputs = {
    model,
    settings: fingerprint(Object.fromEntries(settings)),
    files: fingerprint(settings.map(([, value]) => contentOf(value))),
    data: hash.digest('hex').slice(0, 16),
    numerics: context.numerics,
  };
  return { key: fingerprint({ stage: 'train', inputs }), inputs };
}

/** The result of a training that is finished and has this identity. */
export function finishedTraining(
  context: StudyContext,
  student: StudentConfig,
  arm: string,
  key: string,
): TrainingResult | null {
  const done = readJson<TrainingResult>(context.folder.file('students', student.name, arm, 'result.json'));
  return done?.key === key ? done : null;
}

export async function runTrain(
  context: StudyContext,
  student: StudentConfig,
  arm: string,
  armData: ArmData,
): Promise<TrainingResult> {
  const { key, inputs } = await identifyTraining(context, student, armData);
  const done = finishedTraining(context, student, arm, key);
  if (done !== null) return done;
  requireMayRun(context, 'train', 1, 1);
  throwIfInterrupted(context.signal, `stage 'train'`);

  // A half-trained student of the same identity goes on from its checkpoint; one of another is in the way.
  const folder = context.folder.file('students', student.name, arm);
  const startedFile = `${folder}/started.json`;
  writing(folder, () => {
    rmSync(`${folder}/result.json`, { force: true });
    if (readJson<{ key: string }>(startedFile)?.key !== key) rmSync(folder, { recursive: true, force: true });
  });
  const label = `train ${student.name} ${arm}`;
  context.folder.begin(label, inputs);
  const data = `${folder}/data.jsonl`;
  writePiecesAtomically(data, jsonLines(armData.rows()));
  writeFileAtomically(startedFile, `${JSON.stringify({ key })}\n`);

  const example = armData.rows().next().value as TrainingRow;
  const target = example.messages.at(-1)!.content.replaceAll('\n', '\n  ');
  context.progress.prompt(label, `${example.messages.at(-2)!.content}\n→ ${target}`);
  const work = await new TrainingWork(context, label, inputs, armData.size).run(
    {
      tokenisedFolder: context.folder.file('tokenised'),
      ...student.training,
      data: [data],
      output: weightsFolder(context, student.name, arm),
      resume: true,
    },
    (trained) => {
      const { epochs } = student.training;
      const tokensPerEpoch = Math.round(trained.trainedTokens / epochs);
      const rows = armData.size;
      const result: TrainingResult = { key, student: student.name, arm, rows, ...trained, tokensPerEpoch, epochs };
      writeFileAtomically(`${folder}/result.json`, `${JSON.stringify(result, null, 2)}\n`);
      return result;
    },
  );
  return work;
}

function* jsonLines(rows: Iterable<unknown>): Generator<string> {
  for (const row of rows) yield `${JSON.stringify(row)}\n`;
}

/** One training, with its progress and its costs. */
class TrainingWork {
  readonly #context: StudyContext;
  readonly #label: string;
  readonly #inputs: Inputs;
  readonly #rows: number;
  readonly #begin = performance.now();
  readonly #energy: EnergyMeter;
  #meter: Meter | null = null;
  #state = '';
  #tokens = 0;
  #trained = 0;

  constructor(context: StudyContext, label: string, inputs: Inputs, rows: number) {
    this.#context = context;
    this.#label = label;
    this.#inputs = inputs;
    this.#rows = rows;
    this.#energy = new EnergyMeter(context.config.device);
  }

  async run(config: TrainConfig, finish: (trained: TrainedStudent) => TrainingResult): Promise<TrainingResult> {
    const { services, signal } = this.#context;
    const what = `stage '${this.#label}'`;
    this.#energy.start();
    let trained: TrainedStudent;
    try {
      trained = await services.train(config, {
        signal,
        onTokenise: tokeniseMeter(this.#context.progress, `${this.#label}: tokenise`),
        onStep: (metrics, totalSteps) => this.#onStep(metrics, totalSteps),
      });
    } catch (error) {
      this.#record('running', 1);
      throwIfInterrupted(signal, what);
      throw error;
    } finally {
      this.#meter?.finish();
    }
    throwIfInterrupted(signal, what);
    const result = finish(trained);
    this.#record('done', trained.devices ?? 1);
    return result;
  }

  #onStep({ step, loss, tokens, trainedTokens, tokensPerSecond }: StepMetrics, totalSteps: number | null): void {
    const state = () => this.#state;
    this.#meter ??= this.#context.progress.start(this.#label, totalSteps ?? step, step - 1, 'steps', state);
    this.#state = `${Math.round(tokensPerSecond)} tokens/s · loss ${loss.toFixed(3)}`;
    this.#tokens += tokens;
    this.#trained += trainedTokens;
    this.#meter.advance(1, tokens);
  }

  #record(state: 'running' | 'done', devices: number): void {
    const seconds = (performance.now() - this.#begin) / 1000;
    const work = {
      kept: this.#rows,
      failed: 0,
      seconds,
      deviceSeconds: seconds * devices,
      promptTokens: this.#tokens,
      tokens: this.#trained,
      joules: this.#energy.stop(),
    };
    this.#context.folder.record(this.#label, state, work, this.#inputs);
  }
}

/**
 * What a run will take: tokens, seconds and device-hours, stage by stage, each with the interval in which it should lie. The
 * rows and tokens are an Expectation; the speeds are measured on this machine, at the study's own batch, context and packs.
 */
import type { Expected } from '../report/expected.js';
import type { StudentConfig } from './config.js';
import { modelFingerprint, type StudyContext } from './context.js';
import { armOf } from './costs.js';
import { decodeSeconds } from './decode_time.js';
import { Expectation, type Work } from './expectation.js';
import type { Assumption } from './lengths.js';
import type { PlannedStage, StudyPlan } from './plan.js';
import type { InferenceRates, RateBook, TrainingRates } from './rates.js';

export interface Prediction {
  /** What it rests on, in a sentence. */
  basis: string;
  /** Tokens written or trained, and seconds, by label. */
  stages: Record<string, { tokens: Expected; seconds: Expected }>;
}

/** How far speeds that were measured for seconds may be off, either way. */
const speedError = 0.3;

/** The engine's own default. */
const defaultSeats = 128;

const ends = ['low', 'high'] as const;
const extremes: Assumption[] = ends.flatMap((length) => ends.map((share) => ({ length, share })));

/** The speeds that a study's stages work at. */
class Speeds {
  readonly #context: StudyContext;
  readonly #expectation: Expectation;
  readonly #book: RateBook;
  readonly #seats: number;

  constructor(context: StudyContext, expectation: Expectation, book: RateBook) {
    this.#context = context;
    this.#expectation = expectation;
    this.#book = book;
    const { engine, mesh } = context.config;
    this.#seats = mesh.dp * (engine.maxNumSeqs ?? defaultSeats);
  }

  /** Of a stage that generates. Stages of about the same shape share what was measured. */
  async inference(label: string, model: string): Promise<InferenceRates> {
    const { services } = this.#context;
    const sample = this.#expectation.sample(label);
    const batch = Math.max(1, Math.min(this.#seats, sample.rows));
    const { prompts, prompt, behind } = sample;
    const context = Math.round(Math.log2(prompt + behind));
    const fingerprint = await modelFingerprint(this.#context, model);
    return this.#book.of({ inference: fingerprint, batch: Math.round(Math.log2(batch)), context }, () =>
      services.measure(model, { prompts, behind, batch }),
    );
  }

  async training(student: StudentConfig): Promise<TrainingRates> {
    const { services } = this.#context;
    const { prompts, length, target } = this.#expectation.trainingRow(student);
    const { training, method, model } = student;
    const fingerprint = await modelFingerprint(this.#context, model);
    const { sequenceLength, microBatch, activationCheckpointing, mesh, fullyShard } = training;
    const shape = [method, sequenceLength, microBatch, activationCheckpointing, mesh, fullyShard];
    const size = Math.round(Math.log2(length));
    return this.#book.of({ training: fingerprint, shape, lora: training.lora, size }, () =>
      services.measureTraining(training, { prompts, target, length }),
    );
  }

  /** Seconds of a generating stage. @param loads whether its model has to be opened */
  inferenceSeconds({ rounds, fresh }: NonNullable<Work['inference']>, rates: InferenceRates, loads: boolean): number {
    const seconds = rounds.map(
      ({ rows, lengths }) => (rows * fresh) / rates.prefill + decodeSeconds(lengths, rows, this.#seats, rates.step),
    );
    return seconds.reduce((sum, round) => sum + round, loads ? rates.load : 0);
  }
}

export interface StagePrediction {
  label: string;
  arm: string | null;
  /** Of the whole stage. */
  tokens: Expected;
  seconds: Expected;
  /** Of what is left of it. */
  left: number;
  /** Tokens that go through a model that is trained, over all epochs; null where none is. */
  through: number | null;
}

/** @returns the stages in their order, and what is to be kept for the report */
export async function predict(
  context: StudyContext,
  plan: StudyPlan,
  rates: RateBook,
): Promise<{ stages: StagePrediction[]; prediction: Prediction }> {
  const expectation = await Expectation.of(context, plan.questions);
  const speeds = new Speeds(context, expectation, rates);
  const expected = expectation.work({ length: 'expected', share: 'expected' });
  const others = extremes.map((assumption) => expectation.work(assumption));
  const stages: StagePrediction[] = [];
  let open: string | null = null;
  for (const [index, work] of expected.entries()) {
    const { label, model } = work;
    const among = [work, ...others.map((alternative) => alternative[index]!)];
    const share = shareLeft(plan.stages.find((stage) => stage.label === label));
    const record = context.folder.manifest.stages[label];
    let seconds: Expected;
    if (record !== undefined && share < 1) {
      // What was done tells best how long the rest takes.
      const whole = record.seconds / (1 - share);
      seconds = around([whole], share === 0 ? 0 : speedError);
    } else if (work.training !== null) {
      const { tokensPerSecond, setup } = await speeds.training(work.training.student);
      seconds = around(
        among.map(({ training }) => setup + training!.through / tokensPerSecond),
        speedError,
      );
    } else {
      const speed = await speeds.inference(label, model);
      seconds = around(
        among.map(({ inference }) => speeds.inferenceSeconds(inference!, speed, open !== model)),
        speedError,
      );
    }
    open = work.training === null ? model : null; // The trainer loads the model itself.
    const through = work.training?.through ?? null;
    const tokens = around(
      among.map((one) => one.tokens),
      0,
    );
    stages.push({ label, arm: armOf(label), tokens, seconds, left: seconds.expected * share, through });
  }
  const basis = `${expectation.basis()} Speeds measured on this machine at the study's batch, context and packs, taken to be ${Math.round(100 * speedError)} % off at most.`;
  const kept = stages.map(({ label, tokens, seconds }) => [label, { tokens, seconds }]);
  return { stages, prediction: { basis, stages: Object.fromEntries(kept) } };
}

/** The first is what is expected; the interval holds all of them, and is wider by a share. */
function around(values: readonly number[], error: number): Expected {
  const round = (value: number) => Math.round(value * 10) / 10;
  return {
    expected: round(values[0]!),
    low: round(Math.min(...values) * (1 - error)),
    high: round(Math.max(...values) * (1 + error)),
  };
}

function shareLeft(stage: PlannedStage | undefined): number {
  if (stage === undefined || stage.todo === null) return 1;
  return stage.todo === 0 ? 0 : stage.todo / (stage.todo + stage.there);
}

// metrics.jsonl, and the same for TensorBoard beside it: one row for every optimizer step, and rows of their own for the loss on held-out rows.

import { appendFile, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { EventFile } from './tensorboard.js';

/** TensorBoard looks for `tfevents` in names. */
export const eventFile = 'events.out.tfevents.metrics';

export interface StepMetrics {
  /** 1 for the first optimizer step. */
  readonly step: number;
  /** Mean negative log-likelihood of the trained tokens of the step's window, in nats. */
  readonly loss: number;
  /** The rate that this step's update used. */
  readonly learningRate: number;
  /** Euclidean norm of all gradients, before clipping. */
  readonly gradNorm: number;
  /** Tokens that went through the model in this step, on all ranks. */
  readonly tokens: number;
  /** Those of them that were trained. */
  readonly trainedTokens: number;
  /** `tokens` over the step's wall-clock seconds. */
  readonly tokensPerSecond: number;
  /** Operations of the step's matrix products over what the machine could have done in its time, 0 … 1; absent where that is not known. */
  readonly modelFlopUtilisation?: number;
}

export interface ValidationMetrics {
  /** Optimizer steps done; 0 before the first. */
  readonly step: number;
  /** Mean negative log-likelihood of the targets of all held-out rows, in nats. */
  readonly validationLoss: number;
  /** The run's own objective on the same rows, all of them one window; absent where that is cross-entropy. */
  readonly validationObjective?: number;
}

/** A step that made no update. */
export interface SkippedStep {
  readonly step: number;
  /** Why. */
  readonly skipped: string;
}

type Row = StepMetrics | ValidationMetrics | SkippedStep;

const isNumeric = (row: Row): row is StepMetrics | ValidationMetrics => !('skipped' in row);

export class MetricsLog {
  readonly file: string;
  readonly #events: EventFile;

  private constructor(file: string, events: EventFile) {
    this.file = file;
    this.#events = events;
  }

  /**
   * Opens the log. Rows after `lastStep` (which the resumed run writes again) and a row cut short are removed; 0 starts a new log.
   */
  static async open(file: string, lastStep: number): Promise<MetricsLog> {
    const kept = lastStep === 0 ? [] : (await readRows(file)).filter((row) => row.step <= lastStep);
    await writeFile(`${file}.tmp`, kept.map((row) => `${JSON.stringify(row)}\n`).join(''));
    await rename(`${file}.tmp`, file);
    return new MetricsLog(file, await EventFile.open(join(dirname(file), eventFile), kept.filter(isNumeric)));
  }

  /** Appends a row with one write, so that a reader never sees half of it. */
  async append(row: Row): Promise<void> {
    await appendFile(this.file, `${JSON.stringify(row)}\n`);
    if (isNumeric(row)) await this.#events.append(row);
  }
}

/** The steps of a log, in order; an absent file has none. */
export async function readMetrics(file: string): Promise<StepMetrics[]> {
  return (await readRows(file)).filter((row) => 'loss' in row);
}

/** The validation losses of a log, in order; an absent file has none. */
export async function readValidation(file: string): Promise<ValidationMetrics[]> {
  return (await readRows(file)).filter((row) => 'validationLoss' in row);
}

/** The whole rows, in order. */
async function readRows(file: string): Promise<Row[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  // What stands after the last line feed was being written when the process ended.
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Row);
}

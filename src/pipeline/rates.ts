/** How fast this machine is, remembered for a day beside the fetched models for the next plan. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '../weights/catalogue.js';
import type { StudyConfig } from './config.js';
import type { StepTime } from './decode_time.js';
import { writeFileAtomically } from './files.js';
import { fingerprint } from './identity.js';

export interface InferenceRates {
  /** Prompt tokens a second, with nothing else to do. */
  prefill: number;
  /** Of decoding, in seconds. */
  step: StepTime;
  /** Seconds until the model is open. */
  load: number;
}

export interface TrainingRates {
  /** Tokens through the model a second. */
  tokensPerSecond: number;
  /** Seconds before the first step. */
  setup: number;
}

interface Entry {
  /** Milliseconds since 1970. */
  measured: number;
  rates: unknown;
}

/** A machine may be busy today, and kernels faster tomorrow. */
const keptMilliseconds = 24 * 3600 * 1000;

export class RateBook {
  readonly #path: string;
  readonly #machine: unknown;
  #entries: Record<string, Entry>;

  constructor({ device, dtype, threads, engine, mesh }: StudyConfig, path = join(cacheFolder(), 'rates.json')) {
    this.#path = path;
    this.#machine = { host: hostname(), device, dtype, threads, engine, mesh };
    this.#entries = read(path);
  }

  /** What was measured today of the same thing, else what `measure` finds now. @param what names it: the model, its batch, … */
  async of<T>(what: object, measure: () => Promise<T>): Promise<T> {
    const key = fingerprint({ machine: this.#machine, what });
    const known = this.#entries[key];
    if (known !== undefined && Date.now() - known.measured < keptMilliseconds) return known.rates as T;
    const rates = await measure();
    this.#entries = { ...read(this.#path), ...this.#entries, [key]: { measured: Date.now(), rates } };
    try {
      writeFileAtomically(this.#path, `${JSON.stringify(this.#entries, null, 2)}\n`);
    } catch {} // A cache that cannot be written is none.
    return rates;
  }
}

function read(path: string): Record<string, Entry> {
  try {
    const entries = Object.entries(JSON.parse(readFileSync(path, 'utf8')) as Record<string, Entry>);
    return Object.fromEntries(entries.filter(([, { measured }]) => Date.now() - measured < keptMilliseconds));
  } catch {
    return {};
  }
}

/** How fast this machine is with a model, remembered beside the fetched models for the next plan. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { meshSize } from '../distributed/mesh_shape.js';
import { cacheFolder } from '../weights/catalogue.js';
import type { StudyConfig } from './config.js';
import { writeFileAtomically } from './files.js';
import { fingerprint } from './identity.js';

/** In tokens per second. */
export interface InferenceRates {
  /** Prompt tokens, with nothing else to do. */
  prefill: number;
  /** Written tokens of many sequences together, without their prompts. */
  decode: number;
}

export interface ModelRates {
  inference?: InferenceRates;
  /** Tokens through the model in training, by method. */
  lora?: number;
  full?: number;
}

export class RateBook {
  readonly #path: string;
  readonly #machine: unknown;
  #rates: Record<string, ModelRates>;

  constructor({ device, dtype, threads, mesh }: StudyConfig, path = join(cacheFolder(), 'rates.json')) {
    this.#path = path;
    const several = meshSize(mesh) > 1 ? { mesh } : {};
    this.#machine = { host: hostname(), device, dtype, threads, ...several };
    this.#rates = read(path);
  }

  /** @param model its fingerprint */
  of(model: string): ModelRates {
    return this.#rates[this.#key(model)] ?? {};
  }

  /** Keeps what was measured; a cache that cannot be written is none. */
  keep(model: string, measured: ModelRates): void {
    this.#rates = read(this.#path);
    this.#rates[this.#key(model)] = { ...this.#rates[this.#key(model)], ...measured };
    try {
      writeFileAtomically(this.#path, `${JSON.stringify(this.#rates, null, 2)}\n`);
    } catch {}
  }

  #key(model: string): string {
    return fingerprint({ machine: this.#machine, model });
  }
}

function read(path: string): Record<string, ModelRates> {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Record<string, ModelRates>;
  } catch {
    return {};
  }
}

/**
 * The folder of a run: distill.yaml, manifest.json, one JSONL file per stage and arm, the trained students, the report.
 * One process at a time may use it; any number may look.
 */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { writeFileAtomically, writing } from './files.js';
import type { Prediction } from './predict.js';
import type { Inputs } from './rounds.js';
import { lockFolder } from './run_lock.js';

/** What a stage did. */
export interface StageWork {
  /** Rows that the next stage can use, and rows that failed with a reason. */
  kept: number;
  failed: number;
  /** Wall-clock seconds of work, and seconds that devices worked, all of them together. */
  seconds: number;
  deviceSeconds: number;
  /** Tokens read: prompts, or what went through the model in training; and tokens written or trained. */
  promptTokens: number;
  tokens: number;
  /** Measured energy; null where the machine reports none. */
  joules: number | null;
}

/** Over all the times it was started. */
export interface StageRecord extends StageWork {
  state: 'running' | 'done';
  /** What its rows depend on, by name. */
  inputs: Inputs;
}

export interface Manifest {
  version: 3;
  created: string;
  updated: string;
  /** Fingerprint of every model used. */
  models: Record<string, string>;
  machine: Record<string, string | number>;
  stages: Record<string, StageRecord>;
  /** What was expected before the first stage ran. */
  prediction?: Prediction;
}

const nothing: StageWork = {
  kept: 0,
  failed: 0,
  seconds: 0,
  deviceSeconds: 0,
  promptTokens: 0,
  tokens: 0,
  joules: null,
};

const round = (value: number) => Math.round(value * 1000) / 1000;

export class RunFolder {
  readonly path: string;
  /** Nothing is written. */
  readonly readOnly: boolean;
  readonly manifest: Manifest;
  readonly #unlock: () => void;

  /**
   * Opens or makes the folder and takes its lock.
   * @param settings the text of the study's file, kept as distill.yaml; null leaves that file as it is
   * @throws {UserError} when another living process uses the folder
   */
  static open(path: string, settings: string | null): RunFolder {
    writing(path, () => mkdirSync(path, { recursive: true }));
    const unlock = lockFolder(path);
    try {
      const folder = new RunFolder(path, false, unlock);
      if (settings !== null) writeFileAtomically(folder.file('distill.yaml'), settings);
      return folder;
    } catch (error) {
      unlock();
      throw error;
    }
  }

  /** Looks at a folder that may be in use, or not be there at all. */
  static look(path: string): RunFolder {
    return new RunFolder(path, true, () => {});
  }

  private constructor(path: string, readOnly: boolean, unlock: () => void) {
    this.path = path;
    this.readOnly = readOnly;
    this.#unlock = unlock;
    this.manifest = readManifest(this.file('manifest.json'));
  }

  file(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  /** A stage begins to work on rows that depend on `inputs`. */
  begin(stage: string, inputs: Inputs): void {
    const before = this.manifest.stages[stage] ?? nothing;
    this.manifest.stages[stage] = { ...before, state: 'running', inputs };
    this.save();
  }

  /** Adds what a stage did to what it had done before, and saves the manifest. */
  record(stage: string, state: StageRecord['state'], work: StageWork, inputs: Inputs): void {
    const before = this.manifest.stages[stage] ?? nothing;
    const joules = work.joules === null ? before.joules : round((before.joules ?? 0) + work.joules);
    this.manifest.stages[stage] = {
      state,
      kept: work.kept,
      failed: work.failed,
      seconds: round(before.seconds + work.seconds),
      deviceSeconds: round(before.deviceSeconds + work.deviceSeconds),
      promptTokens: before.promptTokens + work.promptTokens,
      tokens: before.tokens + work.tokens,
      joules,
      inputs,
    };
    this.save();
  }

  save(): void {
    if (this.readOnly) return;
    this.manifest.updated = new Date().toISOString();
    writeFileAtomically(this.file('manifest.json'), `${JSON.stringify(this.manifest, null, 2)}\n`);
  }

  close(): void {
    this.#unlock();
  }
}

function readManifest(path: string): Manifest {
  const now = new Date().toISOString();
  const fresh: Manifest = { version: 3, created: now, updated: now, models: {}, machine: {}, stages: {} };
  if (!existsSync(path)) return fresh;
  try {
    const manifest = JSON.parse(readFileSync(path, 'utf8')) as Manifest;
    if (manifest.version === 3) return manifest;
    return { ...fresh, created: manifest.created }; // Of an earlier version: its rows have other identities.
  } catch {
    throw new UserError(`${path}: Expected a manifest in JSON; remove the file to have a new one written`);
  }
}

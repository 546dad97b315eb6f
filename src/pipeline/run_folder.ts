/**
 * The folder of a run: distill.yaml, manifest.json, one JSONL file per stage and arm, the trained students, the report.
 * One process at a time may use it.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UserError } from '../errors.js';
import { writeFileAtomically } from './row_file.js';

/** What a stage did, over all the times it was started. */
export interface StageRecord {
  state: 'running' | 'done';
  /** Rows that the next stage can use, and rows that failed with a reason. */
  kept: number;
  failed: number;
  /** Seconds of work, and tokens written or trained in them. */
  seconds: number;
  tokens: number;
}

export interface Manifest {
  version: 1;
  created: string;
  updated: string;
  /** Fingerprint of every model used. */
  models: Record<string, string>;
  machine: Record<string, string | number>;
  stages: Record<string, StageRecord>;
}

/** Folders that this process holds. */
const held = new Set<string>();

export class RunFolder {
  readonly path: string;
  readonly manifest: Manifest;

  /**
   * Opens or makes the folder and takes its lock.
   * @param settings the text of the study's file, kept as distill.yaml; null leaves that file as it is
   * @throws {UserError} when another living process uses the folder
   */
  constructor(path: string, settings: string | null) {
    this.path = path;
    mkdirSync(path, { recursive: true });
    this.#lock();
    this.manifest = this.#readManifest();
    if (settings !== null) writeFileAtomically(this.file('distill.yaml'), settings);
  }

  file(...parts: string[]): string {
    return join(this.path, ...parts);
  }

  /** Adds what a stage did to what it had done before, and saves the manifest. */
  record(stage: string, state: StageRecord['state'], work: Omit<StageRecord, 'state'>): void {
    const before = this.manifest.stages[stage];
    this.manifest.stages[stage] = {
      state,
      kept: work.kept,
      failed: work.failed,
      seconds: Math.round(((before?.seconds ?? 0) + work.seconds) * 1000) / 1000,
      tokens: (before?.tokens ?? 0) + work.tokens,
    };
    this.save();
  }

  save(): void {
    this.manifest.updated = new Date().toISOString();
    writeFileAtomically(this.file('manifest.json'), `${JSON.stringify(this.manifest, null, 2)}\n`);
  }

  close(): void {
    rmSync(this.file('lock'), { force: true });
    held.delete(resolve(this.path));
  }

  #readManifest(): Manifest {
    const now = new Date().toISOString();
    const path = this.file('manifest.json');
    try {
      return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        return { version: 1, created: now, updated: now, models: {}, machine: {}, stages: {} };
      }
      throw new UserError(`${path}: Expected a manifest in JSON; remove the file to have a new one written`);
    }
  }

  #lock(): void {
    const path = this.file('lock');
    for (;;) {
      try {
        writeFileSync(path, String(process.pid), { flag: 'wx' });
        held.add(resolve(this.path));
        return;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const owner = Number(readFileSync(path, 'utf8'));
      // A lock with this very process id that this process does not hold is left from before a restart.
      if (owner === process.pid ? held.has(resolve(this.path)) : isAlive(owner)) {
        throw new UserError(
          `Expected '${this.path}' to be free but process ${owner} is using it; wait for it, choose another 'run' folder, or remove ${path}`,
        );
      }
      rmSync(path, { force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Kills a study over and over, at seeded operations on its files in every stage, starts it again each time, and compares
 * what it ends with to an undisturbed run: every file of rows, targets and weights byte for byte, no row lost or doubled.
 *
 *   node dist/test/pipeline/soak.js [--kills 210] [--per-stage 25] [--seed 1] [--real]
 *
 * The engine and the trainer are deterministic stand-ins; with --real they are the real ones on a tiny model.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { stageNames } from '../../src/pipeline/context.js';
import { randomWord } from '../../src/training/philox.js';

export interface SoakOptions {
  /** At least so many over all, and in every stage. */
  kills: number;
  perStage: number;
  seed: number;
  real: boolean;
  note?: (line: string) => void;
}

export interface SoakResult {
  kills: Record<string, number>;
  /** Studies that were taken from nothing to their end. */
  studies: number;
  /** Of every study: files that differ from the undisturbed run's, keys that are there twice. */
  differences: string[];
  doubled: string[];
}

/** Kills per stage and study, and the operations that a life may do before it ends: small, so that many fit into a stage. */
const killsPerStage = 7;
const mostOperations = 12;
const manners = ['before', 'after', 'torn'] as const;

const child = resolve('dist/test/pipeline/soak_child.js');

function live(folder: string, run: string, kind: string, ...fatal: string[]): string | null {
  const { status, signal, stderr } = spawnSync(process.execPath, [child, folder, run, kind, ...fatal], {
    encoding: 'utf8',
    env: { ...process.env, COMPRESS_DISTILL_CACHE: join(folder, 'cache') },
  });
  if (signal === null && status !== 0) throw new Error(`The study failed (exit ${status}):\n${stderr}`);
  return signal;
}

const compared = /^(?!tokenised)(.*\.(jsonl|safetensors|parquet)|students\/.*\/(weights|data\.jsonl))$/;

function filesOf(folder: string, run: string): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  for (const entry of readdirSync(join(folder, run), { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = path.slice(join(folder, run).length + 1);
    if (compared.test(name) && !name.endsWith('metrics.jsonl')) found.set(name, readFileSync(path));
  }
  return found;
}

/** What differs by path, and keys that stand in a file twice. */
function compare(folder: string, run: string): { differences: string[]; doubled: string[] } {
  const [expected, actual] = [filesOf(folder, 'undisturbed'), filesOf(folder, run)];
  const hash = (bytes: Buffer | undefined) => bytes && createHash('sha256').update(bytes).digest('hex');
  const names = [...new Set([...expected.keys(), ...actual.keys()])];
  const differences = names.filter((name) => hash(expected.get(name)) !== hash(actual.get(name)));
  const doubled = [...actual].flatMap(([name, bytes]) => {
    if (!name.endsWith('.jsonl')) return [];
    const lines = bytes.toString('utf8').trimEnd().split('\n');
    const keys = lines.flatMap((line) => (JSON.parse(line) as { key?: string }).key ?? []);
    return keys.length === new Set(keys).size ? [] : [`${run}/${name}`];
  });
  return { differences: differences.map((name) => `${run}/${name}`), doubled };
}

export function soak({ kills, perStage, seed, real, note = () => {} }: SoakOptions): SoakResult {
  const folder = mkdtempSync(join(tmpdir(), 'soak-'));
  const kind = real ? 'real' : 'fake';
  const counts: Record<string, number> = Object.fromEntries(stageNames.map((name) => [name, 0]));
  const total = () => Object.values(counts).reduce((sum, count) => sum + count, 0);
  const result: SoakResult = { kills: counts, studies: 0, differences: [], doubled: [] };
  try {
    live(folder, 'undisturbed', kind);
    let draw = 0;
    const random = (below: number) => randomWord(seed, 11, 0, draw++) % below;
    const quota = Math.max(perStage, Math.ceil(kills / stageNames.length));
    while (Object.values(counts).some((count) => count < quota)) {
      const run = `killed-${++result.studies}`;
      for (const stage of stageNames) {
        const wanted = Math.min(killsPerStage, quota - counts[stage]!);
        for (let kill = 0; kill < wanted; kill++) {
          const manner = manners[random(manners.length)]!;
          const died = live(folder, run, kind, stage, String(1 + random(mostOperations)), manner);
          if (died === 'SIGKILL') counts[stage]!++;
          else break; // The stage had no more to do.
        }
      }
      live(folder, run, kind);
      const { differences, doubled } = compare(folder, run);
      result.differences.push(...differences);
      result.doubled.push(...doubled);
      for (const left of ['lock', 'live.json'])
        if (existsSync(join(folder, run, left))) result.differences.push(`${run}/${left}`);
      note(`study ${result.studies}: ${total()} kills so far, ${result.differences.length} differences`);
      if (result.differences.length === 0) rmSync(join(folder, run), { recursive: true });
    }
    return result;
  } finally {
    if (result.differences.length === 0) rmSync(folder, { recursive: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]!).href) {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '210' },
      'per-stage': { type: 'string', default: '25' },
      seed: { type: 'string', default: '1' },
      real: { type: 'boolean', default: false },
    },
  });
  const begin = performance.now();
  const result = soak({
    kills: Number(values.kills),
    perStage: Number(values['per-stage']),
    seed: Number(values.seed),
    real: values.real,
    note: (line) => console.error(line),
  });
  const seconds = (performance.now() - begin) / 1000;
  const total = Object.values(result.kills).reduce((sum, count) => sum + count, 0);
  console.log(JSON.stringify(result.kills));
  console.log(
    `${total} kills in ${result.studies} studies, ${Math.round(seconds)} s: ${result.differences.length} files differ, ${result.doubled.length} with doubled rows`,
  );
  for (const line of [...result.differences, ...result.doubled]) console.log(line);
  if (result.differences.length + result.doubled.length > 0) process.exitCode = 1;
}

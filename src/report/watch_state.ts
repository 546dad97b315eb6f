/** What `watch` shows of a run's folder, read anew each time. Nothing else is read, and nothing is written. */
import { closeSync, existsSync, fstatSync, openSync, readdirSync, readFileSync, readSync, realpathSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

export interface WatchState {
  title: string;
  updated: string;
  /** The stage at work; null when none is. */
  live: Record<string, unknown> | null;
  stages: Record<string, unknown>[];
  curves: { name: string; points: [step: number, loss: number][] }[];
  newest: { file: string; rows: { id: string; ok: boolean; reason: string | null; text: string }[] } | null;
  /** Whether there is a report.html. */
  report: boolean;
}

/** Points of a curve that a plot can show. */
const mostPoints = 300;
const newestRows = 5;
const tailBytes = 256 * 1024;
const textCharacters = 2000;

function readJson(path: string): Record<string, unknown> | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  } catch {
    return null; // Not there yet, or being replaced.
  }
}

/** The whole lines at the end of a file. */
function tail(path: string, bytes: number): string[] {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch {
    return [];
  }
  try {
    const { size } = fstatSync(file);
    const buffer = Buffer.alloc(Math.min(size, bytes));
    readSync(file, buffer, 0, buffer.length, size - buffer.length);
    const lines = buffer.toString('utf8').split('\n').slice(0, -1);
    return size > bytes ? lines.slice(1) : lines;
  } finally {
    closeSync(file);
  }
}

/** Files of the folder by pattern; links that lead out of it are not followed. */
function files(folder: string, pattern: RegExp): { path: string; name: string; modified: number }[] {
  const root = realpathSync(folder);
  const found = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = relative(folder, path).split(sep).join('/');
    if (!pattern.test(name)) continue;
    try {
      const file = openSync(path, 'r');
      const { mtimeMs } = fstatSync(file);
      closeSync(file);
      if (realpathSync(path).startsWith(root + sep)) found.push({ path, name, modified: mtimeMs });
    } catch {} // Gone in the meantime.
  }
  return found.sort((a, b) => a.modified - b.modified);
}

function curveOf(path: string): [number, number][] {
  const points = tail(path, 1 << 24).flatMap((line): [number, number][] => {
    const { step, loss } = parse(line);
    return typeof step === 'number' && typeof loss === 'number' ? [[step, loss]] : [];
  });
  const stride = Math.max(1, Math.ceil(points.length / mostPoints));
  return points.filter((_, index) => index % stride === 0 || index === points.length - 1);
}

function parse(line: string): Record<string, unknown> {
  try {
    return (JSON.parse(line) as Record<string, unknown>) ?? {};
  } catch {
    return {};
  }
}

function newestOf(folder: string): WatchState['newest'] {
  const newest = files(folder, /^(traces|truncated|compressed\/[^/]+|evaluations\/[^/]+\/[^/]+)\.jsonl$/).at(-1);
  if (newest === undefined) return null;
  const rows = tail(newest.path, tailBytes)
    .slice(-newestRows)
    .reverse()
    .map(parse)
    .map(({ id, ok, reason, response, reasoning }) => ({
      id: String(id),
      ok: ok === true,
      reason: typeof reason === 'string' ? reason : null,
      text: String(response ?? reasoning ?? '').slice(0, textCharacters),
    }));
  return { file: newest.name, rows };
}

export function watchState(folder: string): WatchState {
  const manifest = readJson(join(folder, 'manifest.json')) ?? {};
  const stages = Object.entries((manifest.stages as Record<string, object> | undefined) ?? {});
  return {
    title: folder.split(/[\\/]/).filter(Boolean).at(-1) ?? 'run',
    updated: new Date().toISOString(),
    live: readJson(join(folder, 'live.json')),
    stages: stages.map(([name, record]) => ({ name, ...record })),
    curves: files(folder, /^students\/[^/]+\/[^/]+\/weights\/metrics\.jsonl$/).map(({ path, name }) => ({
      name: name.split('/').slice(1, 3).join(' '),
      points: curveOf(path),
    })),
    newest: newestOf(folder),
    report: existsSync(join(folder, 'report.html')),
  };
}

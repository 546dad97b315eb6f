/**
 * One life of a study that is to be killed: counts what it does to the file system, stage by stage, and at the operation it
 * is told dies by SIGKILL: before it, after it, or in the middle of a write. Started by soak.ts.
 *
 *   node soak_child.js FOLDER RUN fake|real [STAGE OPERATION before|after|torn]
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join, relative, sep } from 'node:path';

const [folder, run, kind, stage, operation, manner] = process.argv.slice(2) as [
  string,
  string,
  string,
  string?,
  string?,
  string?,
];
const root = join(folder, run);
const fatal = Number(operation ?? Number.POSITIVE_INFINITY);

/** The stage that a file belongs to; null for files of all stages. */
function stageOf(path: string): string | null {
  const [first = '', ...rest] = relative(root, path)
    .replace(/\.tmp$/, '')
    .split(sep);
  if (first === '..') return null;
  if (first === 'traces.jsonl' || first === 'questions') return 'traces';
  if (first === 'truncated.jsonl') return 'truncate';
  if (first.startsWith('report') || first === 'datasets') return 'report';
  if (first === 'students') return 'train';
  if (rest.length > 0) return { compressed: 'compress', evaluations: 'evaluate' }[first] ?? null;
  return first === 'answer-only.jsonl' ? 'answer-only' : null;
}

let current = 'traces';
let count = 0;
const paths = new Map<number, string>();

function die(): void {
  process.kill(process.pid, 'SIGKILL');
  for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1000);
}

/** Counts an operation on a path. @returns whether it is the fatal one */
function counted(path: unknown): boolean {
  const found = typeof path === 'string' ? stageOf(path) : null;
  if (found !== null) current = found;
  if (current !== stage) return false;
  count++;
  return count === fatal;
}

type Operation = (...args: never[]) => unknown;

function watch(target: Record<string, Operation>, name: string, pathOf: (args: unknown[]) => unknown): void {
  const original = target[name]!.bind(target) as (...args: unknown[]) => unknown;
  target[name] = ((...args: unknown[]) => {
    const now = counted(pathOf(args));
    if (now && manner === 'before') die();
    if (now && manner === 'torn' && name === 'writeSync') {
      const bytes = args[1] as Uint8Array;
      original(args[0], bytes, 0, Math.floor(bytes.length / 2));
      die();
    }
    const result = original(...args);
    if (!now) return result;
    if (result instanceof Promise) return result.then(die);
    die();
  }) as Operation;
}

const first = (args: unknown[]) => args[0];
const ofDescriptor = (args: unknown[]) => paths.get(args[0] as number);
const sync = fs as unknown as Record<string, Operation>;
const open = fs.openSync;
fs.openSync = ((path: string, flags: string) => {
  const file = open(path, flags);
  paths.set(file, path);
  return file;
}) as typeof fs.openSync;
for (const name of ['renameSync', 'rmSync', 'mkdirSync', 'truncateSync', 'appendFileSync', 'writeFileSync', 'linkSync'])
  watch(sync, name, first);
for (const name of ['writeSync', 'fsyncSync', 'ftruncateSync']) watch(sync, name, ofDescriptor);
for (const name of ['writeFile', 'appendFile', 'rename', 'rm', 'mkdir', 'open', 'copyFile'])
  watch(fs.promises as unknown as Record<string, Operation>, name, first);
syncBuiltinESMExports();

const { runStudy } = await import('../../src/pipeline/run.js');
const { FakeServices, fakeStudy } = await import('./fake_services.js');
if (kind === 'fake') {
  const services = new FakeServices({ order: process.pid });
  await runStudy(fakeStudy(folder, run), { services });
} else {
  const { parseStudyConfig } = await import('../../src/pipeline/config.js');
  const { createEngineServices } = await import('../../src/pipeline/engine_services.js');
  const { tinyStudy } = await import('./tiny_study.js');
  const config = parseStudyConfig(tinyStudy(folder, run));
  const services = createEngineServices(config);
  await runStudy(config, { services });
  await services.close();
}

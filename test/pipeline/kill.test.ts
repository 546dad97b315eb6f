// The real thing: the command is killed or stopped in the middle of a stage, started again, and ends as an undisturbed run.
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { run, start, temporaryFolder } from '../cli/command.js';
import { tinyStudy } from './tiny_study.js';

const folder = temporaryFolder();

function study(name: string): string[] {
  writeFileSync(join(folder(), `${name}.yaml`), stringify(tinyStudy(folder(), name)));
  return ['run', `${name}.yaml`];
}

/** Rows and weights; what holds times and paths is left out. */
function contents(name: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const path of readdirSync(join(folder(), name), { recursive: true }) as string[]) {
    if (!/^(questions|compressed|evaluations).*\.jsonl$|^[\w-]+\.jsonl$|data\.jsonl$|\.safetensors$/.test(path))
      continue;
    files[path] = readFileSync(join(folder(), name, path)).toString('base64');
  }
  return files;
}

/** Starts the study and sends `signal` as soon as `path` in its folder has `bytes` bytes. */
async function stopAt(name: string, path: string, bytes: number, signal: 'SIGKILL' | 'SIGINT'): Promise<number | null> {
  const child = start(study(name), folder());
  child.stderr.resume();
  const closed = new Promise<number | null>((resolve) => child.on('close', resolve));
  const file = join(folder(), name, path);
  while (child.exitCode === null && !(existsSync(file) && statSync(file).size >= bytes)) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  child.kill(signal);
  return closed;
}

beforeEach(() => {
  const { status, stderr } = run(study('undisturbed'), folder());
  expect(status, stderr).toBe(0);
});

it('killed in four stages in a row, it ends with the rows and weights of an undisturbed run', async () => {
  const stops: [string, number][] = [
    ['traces.jsonl', 2000],
    ['compressed/short.jsonl', 500],
    ['students/adapted/truncated/weights/metrics.jsonl', 1],
    ['evaluations/adapted/raw.jsonl', 1],
  ];
  for (const [path, bytes] of stops) expect(await stopAt('killed', path, bytes, 'SIGKILL')).toBeNull();
  const { status, stderr, stdout } = run(study('killed'), folder());
  expect(status, stderr).toBe(0);
  expect(stdout).toMatch(/report\.html/);
  expect(contents('killed')).toEqual(contents('undisturbed'));
});

it('stopped by Ctrl-C while training, it says how to go on and does', async () => {
  expect(await stopAt('stopped', 'students/adapted/raw/weights/metrics.jsonl', 1, 'SIGINT')).toBe(130);
  const { status, stderr } = run(study('stopped'), folder());
  expect(status, stderr).toBe(0);
  expect(contents('stopped')).toEqual(contents('undisturbed'));
});

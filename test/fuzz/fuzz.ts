/**
 * Damaged files of every kind, read as the commands read them, in processes with bounds on time and memory: each is read or
 * refused in one line, and nothing crashes, hangs or takes the machine's memory.
 *
 *   node dist/test/fuzz/fuzz.js [--cases 10000] [--seed 1] [--target NAME]
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { BatchCounts } from './fuzz_child.js';

const child = resolve('dist/test/fuzz/fuzz_child.js');
const casesPerBatch = 250;
const secondsPerBatch = 180;
const heapMegabytes = 1024;

export interface FuzzResult {
  counts: Record<string, BatchCounts>;
  /** What went wrong, with what repeats it. */
  wrong: string[];
}

export function fuzz(names: readonly string[], cases: number, seed: number, note = (_: string) => {}): FuzzResult {
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
  const result: FuzzResult = { counts: {}, wrong: [] };
  try {
    for (const [index, name] of names.entries()) {
      const share = Math.floor((cases * (index + 1)) / names.length) - Math.floor((cases * index) / names.length);
      const total: BatchCounts = { read: 0, refused: 0, slowest: 0, megabytes: 0 };
      result.counts[name] = total;
      for (let first = 0; first < share; first += casesPerBatch) {
        const count = Math.min(casesPerBatch, share - first);
        const args = [
          `--max-old-space-size=${heapMegabytes}`,
          child,
          name,
          String(seed),
          String(first),
          String(count),
          folder,
        ];
        const { status, signal, stdout, stderr } = spawnSync(process.execPath, args, {
          encoding: 'utf8',
          timeout: secondsPerBatch * 1000,
          killSignal: 'SIGKILL',
          maxBuffer: 1 << 28,
        });
        const lines = stdout.trimEnd().split('\n');
        if (status !== 0) {
          const round = /(\d+)\n(?:[^\d][^\n]*\n?)*$/.exec(stderr)?.[1];
          result.wrong.push(
            `${name} seed ${seed} case ${round}: ended with ${signal ?? status}: ${stderr.slice(-600)}`,
          );
          continue;
        }
        const counts = JSON.parse(lines.pop()!) as BatchCounts;
        result.wrong.push(...lines);
        total.read += counts.read;
        total.refused += counts.refused;
        total.slowest = Math.max(total.slowest, counts.slowest);
        total.megabytes = Math.max(total.megabytes, counts.megabytes);
      }
      const { read, refused, slowest, megabytes } = total;
      note(
        `${name}: ${read} read, ${refused} refused, slowest ${Math.round(slowest)} ms, at most ${Math.round(megabytes)} MB more`,
      );
    }
    return result;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]!).href) {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '10000' },
      seed: { type: 'string', default: '1' },
      target: { type: 'string', multiple: true },
    },
  });
  const { targets } = await import('./targets.js');
  const begin = performance.now();
  const names = values.target ?? targets.map(({ name }) => name);
  const { counts, wrong } = fuzz(names, Number(values.cases), Number(values.seed), console.log);
  for (const line of wrong) console.log(line);
  const total = Object.values(counts).reduce((sum, { read, refused }) => sum + read + refused, 0);
  console.log(
    `${total} damaged files in ${Math.round((performance.now() - begin) / 1000)} s, ${wrong.length} went wrong`,
  );
  if (wrong.length > 0) process.exitCode = 1;
}

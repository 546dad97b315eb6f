/**
 * A batch of damaged files in a process of its own. Each line on stdout is a case that went wrong; the last one counts.
 *
 *   node fuzz_child.js TARGET SEED FIRST COUNT FOLDER
 */
import { mkdirSync } from 'node:fs';
import { errorLine } from '../../src/cli/run_main.js';
import { Device } from '../../src/tensor/device.js';
import { randomOf } from './mutate.js';
import { targets } from './targets.js';

export interface BatchCounts {
  read: number;
  refused: number;
  /** Milliseconds of the slowest case, megabytes at most. */
  slowest: number;
  megabytes: number;
}

/** Programming errors: a file can cause them, and must not. */
const bugs = [TypeError, RangeError, ReferenceError, SyntaxError];
const mostMilliseconds = 20_000;
const mostGrowth = 700e6;

const [name, seed, first, count, folder] = process.argv.slice(2) as [string, string, string, string, string];
const target = targets.find((candidate) => candidate.name === name)!;
const device = Device.open('cpu', { threads: 1 });
const counts: BatchCounts = { read: 0, refused: 0, slowest: 0, megabytes: 0 };
mkdirSync(folder, { recursive: true });
const wrong = (round: number, what: string) => console.log(JSON.stringify({ target: name, seed, round, what }));
const before = process.memoryUsage.rss();

for (let round = Number(first); round < Number(first) + Number(count); round++) {
  process.stderr.write(`${round}\n`); // For the parent, should this one never end.
  const begin = performance.now();
  try {
    await target.attempt(folder, randomOf(Number(seed), round), device);
    counts.read++;
  } catch (error) {
    counts.refused++;
    if (!(error instanceof Error)) wrong(round, `threw ${String(error)}`);
    else if (bugs.some((kind) => error.constructor === kind)) wrong(round, `${error.stack}`);
    else if (error.message === '' || /\p{Cc}/u.test(errorLine(error))) wrong(round, `not a line: ${error.message}`);
  }
  const milliseconds = performance.now() - begin;
  counts.slowest = Math.max(counts.slowest, milliseconds);
  if (milliseconds > mostMilliseconds) wrong(round, `took ${Math.round(milliseconds)} ms`);
  const grown = process.memoryUsage.rss() - before;
  counts.megabytes = Math.max(counts.megabytes, grown / 1e6);
  if (grown > mostGrowth) wrong(round, `grew by ${Math.round(grown / 1e6)} MB`);
}
const { liveTensors } = device.statistics();
if (liveTensors > 0) wrong(-1, `${liveTensors} tensors are left`);
await device.close();
console.log(JSON.stringify(counts));

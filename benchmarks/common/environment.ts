/** What a figure depends on besides the program: a result without these is worth nothing. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { native, packageRoot } from '../../src/native.js';

export interface Environment {
  readonly date: string;
  /** With `, changed` behind it where files differed from it. */
  readonly commit: string;
  readonly version: string;
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  /** What the addon was built with and this machine can run, the best first. */
  readonly instructionSets: readonly string[];
  readonly system: string;
  readonly node: string;
  /** Runnable processes of the last minute when the benchmark began: well above 1 on a machine with other work. */
  readonly loadAverage: number;
}

export function readEnvironment(): Environment {
  const { version } = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string };
  return {
    date: new Date().toISOString(),
    commit: commit(),
    version,
    cpu: cpuName(),
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    instructionSets: native.listInstructionSets(),
    system: `${type()} ${release()}`,
    node: process.version,
    loadAverage: loadavg()[0]!,
  };
}

function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: packageRoot, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    const changed = git('status', '--porcelain', '--', ':!benchmarks/results') !== '';
    return `${git('rev-parse', '--short=12', 'HEAD')}${changed ? ', changed' : ''}`;
  } catch {
    return 'unknown';
  }
}

/** Family and model too: a virtual machine's CPU often has no better name than its maker's. */
function cpuName(): string {
  const name = cpus()[0]?.model.trim() ?? 'unknown';
  try {
    const text = readFileSync('/proc/cpuinfo', 'utf8');
    const field = (key: string): string => new RegExp(`^${key}\\s*: (.*)$`, 'm').exec(text)![1]!;
    return `${name} (family ${field('cpu family')}, model ${field('model')})`;
  } catch {
    return name;
  }
}

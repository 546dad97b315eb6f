/**
 * The energy that work took, where the machine reports it: the CPU packages' counters (RAPL, in sysfs) for the CPU, the
 * driver's power readings (nvidia-smi) for CUDA. Where it does not, the report multiplies device-seconds by a rated power.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const raplRoot = '/sys/class/powercap';

interface Counter {
  joules: number;
  /** Where the counter starts again at 0. */
  range: number;
}

/** The packages' counters; empty where there are none or this user may not read them. */
export function readRapl(root = raplRoot): Counter[] {
  try {
    const packages = readdirSync(root).filter((name) => /^intel-rapl:\d+$/.test(name));
    return packages.map((name) => {
      const read = (file: string) => Number(readFileSync(join(root, name, file), 'utf8')) / 1e6;
      return { joules: read('energy_uj'), range: read('max_energy_range_uj') };
    });
  } catch {
    return [];
  }
}

/** Joules between two readings of the same counters; null where either is missing. */
export function raplDifference(before: readonly Counter[], after: readonly Counter[]): number | null {
  if (before.length === 0 || before.length !== after.length) return null;
  const spent = after.map(({ joules, range }, index) => {
    const difference = joules - before[index]!.joules;
    return difference >= 0 ? difference : difference + range;
  });
  return spent.reduce((sum, joules) => sum + joules, 0);
}

const millisecondsBetweenReadings = 1000;

export class EnergyMeter {
  readonly #device: string;
  #before: Counter[] = [];
  #smi: ChildProcess | null = null;
  #watts: number[] = [];
  #begin = 0;
  #running = false;

  constructor(device: string) {
    this.#device = device;
  }

  start(): void {
    this.#running = true;
    this.#begin = performance.now();
    const index = /^cuda(?::(\d+))?$/.exec(this.#device);
    if (index === null) {
      this.#before = readRapl();
      return;
    }
    const query = ['--query-gpu=power.draw', '--format=csv,noheader,nounits', `--id=${index[1] ?? 0}`];
    const smi = spawn('nvidia-smi', [...query, `--loop-ms=${millisecondsBetweenReadings}`], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    smi.on('error', () => {}); // No such program: nothing is measured.
    smi.stdout.on('data', (text: Buffer) => {
      for (const line of text.toString().split('\n')) if (Number(line) > 0) this.#watts.push(Number(line));
    });
    smi.unref();
    this.#smi = smi;
  }

  /** Joules since `start`; null where the machine does not report them. */
  stop(): number | null {
    if (!this.#running) return null;
    this.#running = false;
    if (this.#smi === null) return raplDifference(this.#before, readRapl());
    this.#smi.kill();
    this.#smi = null;
    if (this.#watts.length === 0) return null;
    const seconds = (performance.now() - this.#begin) / 1000;
    return (this.#watts.reduce((sum, watts) => sum + watts, 0) / this.#watts.length) * seconds;
  }
}

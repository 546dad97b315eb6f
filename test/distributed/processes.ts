// Starts the processes of a run on this machine, as a launcher does.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { workerFile } from '../../src/distributed/worker_file.js';
import type { ProcessWork } from './process.js';

export async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export interface Started {
  readonly child: ChildProcess;
  /** What it has said so far, line by line. */
  readonly lines: unknown[];
  /** All of it, once it has ended. */
  readonly ended: Promise<unknown[]>;
  /** Resolves when it has said so many lines. */
  said(count: number): Promise<void>;
}

export function startProcess(work: ProcessWork, environment: Record<string, string | number>): Started {
  const child = spawn(process.execPath, [workerFile('test/distributed/process')], {
    env: {
      ...process.env,
      WORK: JSON.stringify(work),
      ...Object.fromEntries(Object.entries(environment).map(([name, value]) => [name, String(value)])),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines: unknown[] = [];
  const input = createInterface({ input: child.stdout! });
  let waiting: (() => void)[] = [];
  const wake = (): void => {
    for (const resolve of waiting) resolve();
    waiting = [];
  };
  input.on('line', (line) => {
    lines.push(JSON.parse(line));
    wake();
  });
  const ended = Promise.all([once(child, 'exit'), once(input, 'close')]).then(() => {
    wake();
    return lines;
  });
  const said = async (count: number): Promise<void> => {
    while (lines.length < count && child.exitCode === null) await new Promise<void>((resolve) => waiting.push(resolve));
  };
  return { child, lines, ended, said };
}

/** Runs `count` processes of one run to their end. @returns what each of them said */
export async function runProcesses(
  count: number,
  work: (rank: number) => ProcessWork,
  environment: (rank: number) => Record<string, string | number> = () => ({}),
): Promise<unknown[][]> {
  const port = await freePort();
  return Promise.all(
    Array.from({ length: count }, (_, rank) => {
      const usual = { RANK: rank, WORLD_SIZE: count, MASTER_PORT: port, RENDEZVOUS_SECONDS: 60 };
      return startProcess(work(rank), { ...usual, ...environment(rank) }).ended;
    }),
  );
}

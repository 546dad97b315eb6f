/** One process at a time in a run's folder: a file that names its holder, taken over when the holder is gone. */
import { linkSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { writing } from './files.js';

interface Holder {
  pid: number;
  host: string;
  /** When the process started, in the kernel's count: a process id is used again, this pair is not. */
  started: string;
}

/** A takeover lasts milliseconds; one that is older was cut short. */
const takeoverMilliseconds = 10_000;

function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch {
    return null;
  }
}

function isAlive({ pid, host, started }: Holder): boolean {
  if (host !== hostname()) return true; // Cannot be known from here.
  if (!Number.isInteger(pid) || pid <= 0) return false;
  const now = startOf(pid);
  if (now !== null) return now === started;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function read(path: string): Holder | null {
  try {
    const { pid, host, started } = JSON.parse(readFileSync(path, 'utf8')) as Holder;
    return typeof host === 'string' ? { pid, host, started } : null;
  } catch {
    return null;
  }
}

/** Makes a file with all its content at once; false when there is one. */
function create(path: string, content: string): boolean {
  const temporary = `${path}.${process.pid}.${Math.random().toString(36).slice(2)}`;
  try {
    writeFileSync(temporary, content);
    linkSync(temporary, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

/**
 * Takes the lock of a folder.
 * @returns gives it back
 * @throws {UserError} when another living process holds it
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, 'lock');
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), started: startOf(process.pid) ?? '' });
  const refuse = (holder: Holder): never => {
    const where = holder.host === hostname() ? '' : ` on ${holder.host}`;
    throw new UserError(
      `Expected '${folder}' to be free but process ${holder.pid}${where} is using it; wait for it, choose another 'run' folder, or remove ${path} if you know that it is gone`,
    );
  };
  writing(path, () => {
    while (!create(path, mine)) {
      const holder = read(path);
      if (holder !== null && isAlive(holder)) refuse(holder);
      takeOver(path, holder);
    }
  });
  return () => {
    rmSync(path, { force: true });
  };
}

/** Removes the lock of a process that is gone. Only one process does that at a time, so nobody's fresh lock is removed. */
function takeOver(path: string, gone: Holder | null): void {
  const turn = `${path}.takeover`;
  if (!create(turn, String(process.pid))) {
    const age = Date.now() - (statSync(turn, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > takeoverMilliseconds) rmSync(turn, { force: true });
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    return;
  }
  try {
    const now = read(path);
    if (JSON.stringify(now) === JSON.stringify(gone)) rmSync(path, { force: true });
  } finally {
    rmSync(turn, { force: true });
  }
}

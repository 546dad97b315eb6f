/** One process at a time, by a file that names its owner. */
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const pollMilliseconds = 200;
const staleMilliseconds = 60 * 60 * 1000;

/**
 * Runs `work` while holding the lock file; waits while another process holds it. The lock of a process that died is taken
 * over. Two that notice a death at the same moment may both go on: use it to save work, not for correctness.
 * @param options.onWait called once if the lock is taken
 */
export async function withLock<R>(
  path: string,
  work: () => Promise<R>,
  options: { signal?: AbortSignal | undefined; onWait?: (() => void) | undefined } = {},
): Promise<R> {
  const owner = `${hostname()} ${process.pid}`;
  let waited = false;
  while (!(await take(path, owner))) {
    if (await abandoned(path)) {
      await rm(path, { force: true });
      continue;
    }
    if (!waited) options.onWait?.();
    waited = true;
    await sleep(pollMilliseconds, undefined, options.signal ? { signal: options.signal } : {});
  }
  try {
    return await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function take(path: string, owner: string): Promise<boolean> {
  try {
    await writeFile(path, owner, { flag: 'wx' });
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function abandoned(path: string): Promise<boolean> {
  const [content, status] = await Promise.all([readFile(path, 'utf8').catch(() => ''), stat(path).catch(() => null)]);
  if (status === null) return false;
  const [host, pid] = content.split(' ');
  const old = Date.now() - status.mtimeMs > staleMilliseconds;
  return host === hostname() && pid !== undefined ? !isAlive(Number(pid)) : old;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

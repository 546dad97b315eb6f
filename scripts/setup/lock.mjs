// Two set-ups of one clone (npm start in one terminal, npm test in another) take turns.
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

function holder(path) {
  try {
    const pid = Number(readFileSync(path, 'utf8'));
    process.kill(pid, 0);
    return pid;
  } catch (error) {
    return error.code === 'EPERM' ? 'of another user' : null;
  }
}

/** Holds `path` until the returned function is called; a lock whose process is gone is taken over. */
export async function takeTurns(path) {
  mkdirSync(dirname(path), { recursive: true });
  for (let told = false; ; await sleep(300)) {
    try {
      const file = openSync(path, 'wx');
      writeSync(file, String(process.pid));
      closeSync(file);
      const release = () => rmSync(path, { force: true });
      process.once('exit', release);
      return release;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const pid = holder(path);
    if (pid === null) rmSync(path, { force: true });
    else if (!told) {
      process.stderr.write(
        `Waiting for another set-up of this folder (process ${pid}; if there is none, delete ${path})\n`,
      );
      told = true;
    }
  }
}

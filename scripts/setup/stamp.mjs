// A step is skipped while the hash of what it reads is the one it left behind when it last succeeded.
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

function* files(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile()) yield path;
  if (!stat?.isDirectory()) return;
  for (const name of readdirSync(path).sort()) if (name !== 'node_modules') yield* files(join(path, name));
}

/** SHA-256 over names and contents of every file below `paths` whose name `accept` takes, and over `extra`. */
export function hashOf(paths, { accept = () => true, extra = [] } = {}) {
  const hash = createHash('sha256');
  for (const text of extra) hash.update(`${text}\0`);
  for (const path of paths)
    for (const file of files(path)) if (accept(file)) hash.update(`${file}\0`).update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

/** One file that holds the hash of the last success. It lies where deleting the step's output deletes it too. */
export class Stamp {
  constructor(path) {
    this.path = path;
  }
  matches(hash) {
    try {
      return readFileSync(this.path, 'utf8').trim() === hash;
    } catch {
      return false;
    }
  }
  clear() {
    rmSync(this.path, { force: true });
  }
  write(hash) {
    mkdirSync(dirname(this.path), { recursive: true });
    writeFileSync(this.path, `${hash}\n`);
  }
}

/** Files that are there whole or not at all, and disks that are full or read-only said in one line. */
import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from '../errors.js';

const remedies: Record<string, string> = {
  ENOSPC: 'the disk is full; free some space',
  EDQUOT: 'the disk quota is used up; free some space',
  EFBIG: 'the file may not grow; raise the limit on the size of files (ulimit -f)',
  EROFS: 'the file system is read-only; choose another folder',
  EACCES: 'this user may not write there; change its permissions or choose another folder',
  EPERM: 'this user may not write there; change its permissions or choose another folder',
  EIO: 'the disk reports an error; check it',
  EMFILE: 'too many files are open; raise the limit (ulimit -n)',
  ENOTDIR: 'a part of the path is a file; choose another folder',
  EEXIST: 'a part of the path is a file; choose another folder',
};

/** Runs `work`; what the disk refuses becomes one line with the remedy. */
export function writing<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    const remedy = remedies[(error as NodeJS.ErrnoException).code ?? ''];
    if (remedy === undefined) throw error;
    throw new UserError(
      `Expected to be able to write ${path} but ${remedy}, and start the same command again: what is finished is kept`,
    );
  }
}

export function writeAll(file: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length; ) written += writeSync(file, bytes, written);
}

/** Bytes that are collected before they are written. */
const bufferBytes = 1 << 20;

/** Writes a whole file or none of it, piece by piece: a temporary file beside it, synced, then renamed. */
export function writePiecesAtomically(path: string, pieces: Iterable<string | Uint8Array>): void {
  const temporary = `${path}.tmp`;
  writing(path, () => {
    mkdirSync(dirname(path), { recursive: true });
    const file = openSync(temporary, 'w');
    try {
      let held: Uint8Array[] = [];
      let bytes = 0;
      const flush = () => {
        writeAll(file, Buffer.concat(held));
        held = [];
        bytes = 0;
      };
      for (const piece of pieces) {
        const encoded = typeof piece === 'string' ? Buffer.from(piece) : piece;
        held.push(encoded);
        bytes += encoded.length;
        if (bytes >= bufferBytes) flush();
      }
      flush();
      fsyncSync(file);
    } catch (error) {
      closeSync(file);
      rmSync(temporary, { force: true });
      throw error;
    }
    closeSync(file);
    renameSync(temporary, path);
  });
}

export function writeFileAtomically(path: string, text: string): void {
  writePiecesAtomically(path, [text]);
}

/** What tells one model's files from another's, without reading gigabytes. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename } from 'node:path';

const chunkBytes = 4096;
const chunks = 1024;

/**
 * SHA-256 over names, sizes and contents, in hexadecimal. Of a file beyond 4 MiB, 1024 evenly spaced chunks of 4 KiB count,
 * the first and the last among them: training changes every one of them.
 */
export async function fingerprintFiles(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(chunkBytes);
  for (const path of paths) {
    await using file = await open(path);
    const { size } = await file.stat();
    hash.update(`${basename(path)}\0${size}\0`);
    const step = Math.max(chunkBytes, (size - chunkBytes) / (chunks - 1));
    for (let index = 0; index * step < size; index++) {
      const { bytesRead } = await file.read(buffer, 0, chunkBytes, Math.floor(index * step));
      hash.update(buffer.subarray(0, bytesRead));
    }
  }
  return hash.digest('hex');
}

/** SHA-256 over every byte of some files, in hexadecimal: a second or less a gigabyte. */
export async function hashFiles(paths: readonly string[]): Promise<string> {
  const hash = createHash('sha256');
  for (const path of paths)
    for await (const chunk of createReadStream(path, { highWaterMark: 1 << 22 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Entries of a vocabulary that are hashed before the event loop turns. */
const entriesAtATime = 1024;

/**
 * SHA-256 over `values` as JSON and over large tables entry by entry, in hexadecimal. A vocabulary of 150,000 tokens in one piece
 * would stop the event loop for a tenth of a second.
 */
export async function fingerprintText(values: unknown, tables: readonly (object | undefined)[]): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(values));
  for (const table of tables) {
    let entries: unknown[] = [];
    for (const key in table) {
      entries.push(key, (table as Record<string, unknown>)[key]);
      if (entries.length < 2 * entriesAtATime) continue;
      hash.update(JSON.stringify(entries));
      entries = [];
      await new Promise(setImmediate);
    }
    hash.update(JSON.stringify(entries));
  }
  return hash.digest('hex');
}

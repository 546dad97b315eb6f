// Tokenised datasets by what they were made from, so that data is tokenised once for any number of runs.

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, readdir, rm, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../errors.js';
import { cacheFolder } from '../weights/catalogue.js';
import { DamagedFileError, TokenisedFile, writeTokenised } from './tokenised_file.js';
import type { TokenisedRows } from './tokenised_rows.js';

/** Counts up when the same data would be tokenised or stored differently. */
const version = 1;
const day = 24 * 3600 * 1000;
/** What was not used for so long is removed when something new is stored. */
const keptFor = 30 * day;
const suffix = '.rows';

/** `tokenised` in the user's cache. */
export function defaultTokenisedFolder(): string {
  return join(cacheFolder(), 'tokenised');
}

/**
 * The name of what is made from files of these contents and `settings`; where the files lie and when they changed does not matter.
 * @throws {UserError} for a file that cannot be read
 */
export async function cacheKey(
  files: readonly string[],
  settings: unknown,
  signal: AbortSignal | undefined,
): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([version, settings]));
  for (const file of files) {
    const contents = createHash('sha256');
    try {
      for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20, signal })) contents.update(chunk);
    } catch (error) {
      signal?.throwIfAborted();
      throw unreadable(file, error as NodeJS.ErrnoException);
    }
    hash.update(contents.digest());
  }
  return hash.digest('hex').slice(0, 32);
}

export function unreadable(file: string, { code, message }: NodeJS.ErrnoException): UserError {
  const reason = code === 'ENOENT' ? 'there is no such file' : message;
  return new UserError(`Expected '${file}' to be a readable JSONL file: ${reason}`);
}

/**
 * What is stored under `key`, or null; a file that is not whole is removed.
 * @throws {UserError} for one that cannot be read: it may be whole
 */
export async function openCached(folder: string, key: string): Promise<TokenisedFile | null> {
  const path = join(folder, key + suffix);
  if ((await stat(path).catch(() => null)) === null) return null;
  try {
    const now = new Date();
    const file = await TokenisedFile.open(path);
    await utimes(path, now, now).catch(() => {}); // a folder that others share may be read-only
    return file;
  } catch (error) {
    if (!(error instanceof DamagedFileError)) {
      const { code, message } = error as NodeJS.ErrnoException;
      const remedy = "make it readable, remove it, or set 'tokenisedFolder' to another folder";
      throw new UserError(`${path}: the tokenised data cannot be read (${code ?? message}); ${remedy}`);
    }
    await rm(path, { force: true });
    return null;
  }
}

/**
 * Stores rows under `key`, whole or not at all.
 * @throws {UserError} when the disk has no room
 */
export async function storeCached(
  folder: string,
  key: string,
  rows: AsyncIterable<{ readonly file: number; readonly rows: TokenisedRows }>,
): Promise<TokenisedFile> {
  const path = join(folder, key + suffix);
  try {
    await mkdir(folder, { recursive: true });
    await removeUnused(folder);
    await writeTokenised(path, rows);
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw error;
    const remedy = "free some space, or set 'tokenisedFolder' to a folder on another disk";
    throw new UserError(`${folder}: the tokenised data cannot be written (${code}); ${remedy}`);
  }
  return TokenisedFile.open(path);
}

/** Removes what nobody wants any more, and what writers that were killed left: they write on all the time. */
async function removeUnused(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const age = Date.now() - ((await stat(join(folder, name)).catch(() => null))?.mtimeMs ?? Date.now());
    const temporary = name.startsWith('.') && name.includes(`${suffix}.tmp-`);
    if (age > (temporary ? day : keptFor) && (temporary || name.endsWith(suffix)))
      await rm(join(folder, name), { force: true });
  }
}

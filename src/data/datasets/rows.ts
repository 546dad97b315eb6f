/** Rows of local data files: parquet, JSON Lines, or one JSON array. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { UserError } from '../../errors.js';
import { readJsonl } from '../jsonl.js';

const dataExtensions = ['.parquet', '.jsonl', '.json'];

/** INT64 columns come as BigInt; every count and label of a dataset fits a number. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw new UserError(`Expected an integer below 2^53 but received ${value}`);
    return number;
  }
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

/** @throws {UserError} naming the file, when it cannot be read */
export async function readRows(file: string): Promise<unknown[]> {
  const extension = extname(file).toLowerCase();
  if (extension === '.jsonl') {
    const rows: unknown[] = [];
    for await (const { value } of readJsonl(file, (row) => row)) rows.push(value);
    return rows;
  }
  if (extension === '.parquet') {
    try {
      return (await parquetReadObjects({ file: await asyncBufferFromFile(file) })).map(plain);
    } catch (error) {
      throw new UserError(`Expected '${file}' to be a readable parquet file: ${(error as Error).message}`);
    }
  }
  if (extension === '.json') {
    let value: unknown;
    try {
      value = JSON.parse(await readFile(file, 'utf8'));
    } catch (error) {
      throw new UserError(`Expected '${file}' to be a readable JSON file: ${(error as Error).message}`);
    }
    if (!Array.isArray(value)) throw new UserError(`Expected '${file}' to hold one JSON array of rows`);
    return value;
  }
  throw new UserError(`Expected '${file}' to end in ${dataExtensions.join(', ')}; convert it to one of these`);
}

/** Whether a part of a file's path names a split: `train`, `train-00000-of-00001`, `questions_train`. */
const names = (part: string, split: string): boolean =>
  part === split || part.startsWith(`${split}-`) || part.endsWith(`_${split}`);

/**
 * The files that hold a split: `path` itself where it is a file, else those below it whose path names the split, and
 * the configuration where some file's does; in alphabetical order, so shards come in theirs.
 * @returns none when there is no such file or folder, or nothing below it fits
 */
export async function splitFiles(path: string, split: string, config?: string): Promise<string[]> {
  const found = await stat(path).catch(() => null);
  if (found === null) return [];
  if (!found.isDirectory()) return [path];
  const entries = await readdir(path, { recursive: true });
  const files = entries
    .filter((entry) => dataExtensions.includes(extname(entry).toLowerCase()))
    .map((entry) => ({
      entry,
      parts: relative('.', entry)
        .split(sep)
        .flatMap((part) => part.split('.')),
    }))
    .filter(({ parts }) => parts.some((part) => names(part, split)));
  const ofConfig = files.filter(({ parts }) => config !== undefined && parts.includes(config));
  return (ofConfig.length > 0 ? ofConfig : files).map(({ entry }) => join(path, entry)).sort();
}

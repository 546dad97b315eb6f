/** JSON Lines, streamed: one row in memory at a time, every error with file and line. */
import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { UserError } from '../errors.js';

function explain(error: unknown): string {
  if (error instanceof z.ZodError) {
    const issue = error.issues[0];
    if (issue === undefined) return 'invalid row';
    const key = issue.path.join('.');
    return key === '' ? issue.message : `Expected a valid '${key}': ${issue.message}`;
  }
  return error instanceof Error ? error.message : String(error);
}

/**
 * Yields the rows of a JSONL file, with their line numbers from 1. Blank lines and a byte order mark are skipped.
 * @param parse checks one decoded row and gives what is yielded; what it throws is reported with file and line.
 * @throws {UserError} `FILE:LINE: reason`, or a line naming the file when it cannot be opened.
 */
export async function* readJsonl<T>(
  path: string,
  parse: (row: unknown) => T,
): AsyncGenerator<{ line: number; value: T }> {
  const input = createReadStream(path, 'utf8');
  let openError: Error | null = null;
  input.on('error', (error) => {
    openError = error;
  });
  const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY });
  let line = 0;
  try {
    for await (const text of lines) {
      line++;
      const source = line === 1 ? text.replace(/^\uFEFF/, '') : text;
      if (source.trim() === '') continue;
      let row: unknown;
      try {
        row = JSON.parse(source);
      } catch (error) {
        throw new UserError(`${path}:${line}: Expected one JSON value per line: ${explain(error)}`);
      }
      let value: T;
      try {
        value = parse(row);
      } catch (error) {
        throw new UserError(`${path}:${line}: ${explain(error)}`);
      }
      yield { line, value };
    }
  } catch (error) {
    if (openError !== null && error === openError) throw unreadable(path, openError);
    throw error;
  } finally {
    lines.close();
    input.destroy();
  }
  if (openError !== null) throw unreadable(path, openError);
}

function unreadable(path: string, error: NodeJS.ErrnoException): UserError {
  const reason = error.code === 'ENOENT' ? 'there is no such file' : error.message;
  return new UserError(`Expected '${path}' to be a readable JSONL file: ${reason}`);
}

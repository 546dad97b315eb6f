import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

/** A folder for the runs of a `describe`, with 24 short conversations in `data`; gone afterwards. */
export function conversationsFolder(name: string): { folder: string; data: string } {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  afterAll(() => rmSync(folder, { recursive: true }));
  const data = join(folder, 'data.jsonl');
  const rows = Array.from({ length: 24 }, (_, index) => ({
    id: `q${index}`,
    messages: [
      { role: 'user', content: `What is ${index} plus ${index}?` },
      { role: 'assistant', content: `<think>\n${'step '.repeat(index % 5)}\n</think>\n\n${2 * index}` },
    ],
  }));
  writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return { folder, data };
}

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { modelFolder } from '../support/fixtures.js';
import { run, temporaryFolder, writeRows } from './command.js';

const folder = temporaryFolder();

function inspect(...args: string[]) {
  const turn = (id: string, content: string) => ({
    id,
    messages: [
      { role: 'user', content: 'How many?' },
      { role: 'assistant', content },
    ],
  });
  writeRows(join(folder(), 'in.jsonl'), [turn('first', '42'), turn('second', '<think>6 times 7</think>42')]);
  return run(['inspect', '--model', modelFolder('chat'), '--data', 'in.jsonl', ...args], folder());
}

test('the table shows every token, the answer and its end of turn trained', () => {
  const { status, stdout } = inspect();
  expect(status).toBe(0);
  const lines = stdout.trimEnd().split('\n');
  expect(lines[0]).toContain("row 'first'");
  const trained = lines.filter((line) => / trained /.test(line) && /^ *\d/.test(line));
  const text = trained.map((line) => JSON.parse(/".*"$/.exec(line)![0]) as string).join('');
  expect(text).toBe('42<|im_end|>');
  const all = lines.filter((line) => /^ +\d+ +\d+ {2}/.test(line));
  expect(lines.at(-1)).toBe(`${all.length} tokens: ${trained.length} trained, ${all.length - trained.length} not`);
});

test('a row by its id, in colour', () => {
  expect(inspect('--row', 'second').stdout).toContain('23 trained');
  expect(inspect('--row', 'third')).toMatchObject({ status: 1, errors: [expect.stringContaining("id 'third'")] });
  const turn = run(['inspect', '--model', modelFolder('chat'), '--data', 'in.jsonl'], folder(), {
    NO_COLOR: undefined,
    FORCE_COLOR: '1',
  });
  expect(turn.stdout).toContain('\u001B[32m');
});

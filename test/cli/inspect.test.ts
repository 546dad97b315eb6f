import { writeFileSync } from 'node:fs';
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

test("a row as a training file sees it, this project's or Axolotl's", () => {
  const template =
    '{% for m in messages %}{{ m.role }}: {{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}';
  const plain = {
    model: modelFolder('chat'),
    data: 'in.jsonl',
    output: 'out',
    chatTemplate: template,
    sequenceLength: 20,
  };
  writeFileSync(join(folder(), 'own.yaml'), JSON.stringify(plain));
  const axolotl = {
    ...{ base_model: modelFolder('chat'), sample_packing: true, chat_template: 'jinja', chat_template_jinja: template },
    datasets: [{ path: 'in.jsonl', type: 'chat_template' }],
  };
  writeFileSync(join(folder(), 'axolotl.yaml'), JSON.stringify(axolotl));
  writeRows(join(folder(), 'in.jsonl'), [
    {
      messages: [
        { role: 'user', content: 'How many?' },
        { role: 'assistant', content: '42' },
      ],
    },
  ]);
  const own = run(['inspect', 'own.yaml'], folder());
  expect(own.stdout).toMatch(/untrained {2}" "\n.* trained {4}"4"\n.* trained {4}"2"\n.*trained {4}"<\|im_end\|>"\n/);
  expect(own.stdout.trimEnd()).toMatch(/over-long: 'sequenceLength' is 20$/);
  const theirs = run(['inspect', 'axolotl.yaml'], folder());
  expect(theirs.stderr).toMatch(/^axolotl\.yaml is Axolotl's; read as\n {2}base_model +→ model: /);
  expect(theirs.stdout.split('\n').slice(1, -2)).toEqual(own.stdout.split('\n').slice(1, -3));
  expect(run(['inspect', '--data', 'in.jsonl'], folder()).errors).toEqual([
    "error: required option '--model <model>' not specified, nor a training file",
  ]);
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

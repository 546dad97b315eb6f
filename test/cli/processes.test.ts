// Generation, scoring and studies in several processes, started as a user does.
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { tinyStudy } from '../pipeline/tiny_study.js';
import { modelFolder } from '../support/fixtures.js';
import { readRows, run, start, temporaryFolder, writeRows } from './command.js';

const folder = temporaryFolder();
const launch = ['launch', '--processes', '2', '--'];

function prompts(count: number): void {
  const rows = Array.from({ length: count }, (_, index) => ({ id: `q${index}`, prompt: `How many are ${index}?` }));
  writeRows(join(folder(), 'in.jsonl'), rows);
}

function generate(out: string, maxTokens: number): string[] {
  const files = ['--model', modelFolder('chat'), '--prompts', 'in.jsonl', '--out', out];
  const sampling = ['--temperature', '1', '--seed', '3', '--max-tokens', String(maxTokens), '--ignore-eos'];
  return ['generate', ...files, ...sampling, '--max-num-seqs', '4'];
}

const mesh = ['--mesh', 'dp=4', '--threads', '2'];
const lines = (file: string): string[] => readFileSync(join(folder(), file), 'utf8').trimEnd().split('\n').sort();

test('two processes of two replicas generate and score what one engine does', () => {
  prompts(30);
  expect(run(generate('one.jsonl', 20), folder()).status).toBe(0);
  const two = run([...launch, ...generate('two.jsonl', 20), ...mesh], folder());
  expect(two).toMatchObject({ status: 0, errors: [], stderr: expect.stringMatching(/^4 replicas with 1 CPU thread /) });
  expect(lines('two.jsonl')).toEqual(lines('one.jsonl'));

  // A model that two ranks of each process hold.
  expect(run([...generate('one tp.jsonl', 20), '--mesh', 'tp=2'], folder()).status).toBe(0);
  expect(run([...launch, ...generate('tp.jsonl', 20), '--mesh', 'dp=2,tp=2'], folder()).status).toBe(0);
  expect(lines('tp.jsonl')).toEqual(lines('one tp.jsonl'));

  const score = (out: string) => ['score', '--model', modelFolder('chat'), '--input', 'in.jsonl', '--out', out];
  const small = ['--batch-tokens', '40'];
  expect(run([...score('one scored.jsonl'), ...small], folder()).status).toBe(0);
  expect(run([...launch, ...score('scored.jsonl'), ...small, ...mesh], folder())).toMatchObject({
    status: 0,
    errors: [],
  });
  expect(readFileSync(join(folder(), 'scored.jsonl'))).toEqual(readFileSync(join(folder(), 'one scored.jsonl')));
});

test('what keeps processes from working together is said in one line by each', () => {
  prompts(2);
  const errors = (args: string[]): string[] => run([...launch, ...args], folder()).errors;
  const twice = (text: string): unknown[] => Array(2).fill(expect.stringContaining(text));
  expect(errors([...generate('out.jsonl', 4), '--mesh', 'tp=2'])).toEqual(
    twice("(2 processes) as 'dp' but received dp=1,tp=2; a process has one or more whole replicas"),
  );
  const nowhere = ['generate', '--model', './nowhere', '--prompts', 'in.jsonl', '--out', 'out.jsonl'];
  expect(errors([...nowhere, ...mesh])).toEqual(twice("there is no './nowhere'"));
  expect(run(['score', '--mesh', 'tp=2', '--model', 'm', '--input', 'i', '--out', 'o'], folder()).errors).toEqual([
    expect.stringContaining("Expected '--mesh' of 'score' to have whole models, tp=1, but received tp=2"),
  ]);
  expect(readdirSync(folder()).filter((name) => name.startsWith('out'))).toEqual([]);
});

/** The process that `launch` started with this RANK. */
function kill(parent: number, rank: number): void {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(/\s+/);
  const isIt = (pid: string): boolean =>
    readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(`RANK=${rank}`);
  process.kill(Number(children.find(isIt)), 'SIGKILL');
}

test('a process that dies ends all, which name it and keep what is finished; another number of processes goes on', async () => {
  prompts(200);
  expect(run(generate('one.jsonl', 60), folder()).status).toBe(0);
  const partial = (): string | undefined => readdirSync(folder()).find((name) => /^out\.jsonl\..*partial$/.test(name));
  const rows = (): number => {
    const name = partial();
    return name === undefined ? 0 : readFileSync(join(folder(), name), 'utf8').split('\n').length - 1;
  };
  let before = 0;
  for (const [rank, named] of [
    [1, /^error: process 1 \(ranks 2 and 3\) at .* has ended$/m],
    [0, /^error: process 0 \(ranks 0 and 1\) at .* has ended$/m],
  ] as const) {
    const child = start([...launch, ...generate('out.jsonl', 60), ...mesh], folder());
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    while (rows() < before + 10 && child.exitCode === null) await new Promise((next) => setTimeout(next, 5));
    kill(child.pid!, rank);
    expect(await once(child, 'close')).toEqual([1, null]);
    expect(stderr).toMatch(named);
    expect(existsSync(join(folder(), 'out.jsonl'))).toBe(false);
    expect(rows()).toBeGreaterThanOrEqual(before + 10);
    before = rows();
  }
  expect(run(generate('out.jsonl', 60), folder()).status).toBe(0);
  expect(lines('out.jsonl')).toEqual(lines('one.jsonl'));
});

test('a study in two processes writes the rows of one, and trains its students on the ranks of both', () => {
  for (const [name, more] of [
    ['one', []],
    ['two', ['--mesh', 'dp=2']],
  ] as const) {
    const study = tinyStudy(folder(), name);
    const students = study.students.slice(0, 1).map((student) => ({
      ...student,
      arms: ['raw'],
      training: { ...student.training, gradientAccumulation: 2 },
    }));
    writeFileSync(join(folder(), `${name}.yaml`), JSON.stringify({ ...study, students }));
    const command = ['run', `${name}.yaml`, ...more];
    const { status, errors } = run(name === 'two' ? [...launch, ...command] : command, folder());
    expect({ status, errors }).toEqual({ status: 0, errors: [] });
  }
  const stages = [
    'traces.jsonl',
    ...readdirSync(join(folder(), 'one', 'compressed')).map((file) => `compressed/${file}`),
  ];
  const content = (name: string, file: string) =>
    readRows<{ id: string; response: string }>(join(folder(), name, file)).map(({ id, response }) => [id, response]);
  for (const file of stages) expect(content('two', file)).toEqual(content('one', file));
  const student = tinyStudy(folder(), 'two').students[0]!.name;
  const result = readFileSync(join(folder(), 'two', 'students', student, 'raw', 'result.json'), 'utf8');
  expect(JSON.parse(result)).toMatchObject({ devices: 2 });
});

test('a stage that fails in one process says why in all', () => {
  const objective = join(folder(), 'failing.mjs');
  const lines = [
    'export default ({ tokenLogprobs, window }, { scale, sum }) => {',
    "  if (process.env.RANK === '0') throw new Error('it had to be');",
    '  return scale(sum(tokenLogprobs()), -1 / window.trained);',
    '};',
  ];
  writeFileSync(objective, lines.join('\n'));
  const study = tinyStudy(folder(), 'failing');
  const [student] = study.students;
  const training = { ...student!.training, gradientAccumulation: 2, objective };
  const students = [{ ...student, arms: ['raw'], training }];
  writeFileSync(join(folder(), 'failing.yaml'), JSON.stringify({ ...study, students }));
  const { status, errors } = run([...launch, 'run', 'failing.yaml', '--mesh', 'dp=2'], folder());
  expect(status).toBe(1);
  expect(errors).toEqual(Array(2).fill(expect.stringContaining('it had to be')));
});

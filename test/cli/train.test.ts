import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { modelFolder } from '../support/fixtures.js';
import { run, start, temporaryFolder } from './command.js';

const folder = temporaryFolder();

it('says before the first step what is trained and what memory it takes, then how it goes', () => {
  const rows = Array.from({ length: 40 }, (_, index) => ({
    id: `${index}`,
    messages: [
      { role: 'user', content: `What is ${index}?` },
      { role: 'assistant', content: `<think>\nx\n</think>\n\n${index}` },
    ],
  }));
  writeFileSync(join(folder(), 'rows.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  const settings = {
    model: modelFolder('chat'),
    data: 'rows.jsonl',
    output: 'out',
    sequenceLength: 120,
    lora: { rank: 4 },
  };
  writeFileSync(join(folder(), 'train.yaml'), JSON.stringify(settings));
  const { status, stdout, stderr } = run(['train', 'train.yaml', '--threads', '1'], folder());
  expect(status).toBe(0);
  const lines = stderr.trimEnd().split('\n');
  expect(lines[0]).toMatch(
    /^40 rows, 2 held out for validation: \d+ tokens, .* in \d+ packs \(\d+\.\d % full\); .* \d+ steps$/,
  );
  expect(lines[1]).toMatch(
    /^weights in f32; memory, estimated: 1 MB \(weights .*, gradients .*, optimizer .*, activations .*\), of .* free$/,
  );
  expect(lines.at(-1)).toMatch(/^train: (\d+)\/\1 steps · .* steps\/s, \d+ tokens\/s · took/);
  expect(stdout).toMatch(/^out: \d+ steps, .*, final loss \d\.\d+, validation loss \d\.\d+\n$/);
});

it('saves and stops on SIGINT, and goes on from there', async () => {
  const messages = [
    { role: 'user', content: 'What?' },
    { role: 'assistant', content: 'That.' },
  ];
  const rows = Array.from({ length: 30 }, (_, index) => `${JSON.stringify({ id: `${index}`, messages })}\n`);
  writeFileSync(join(folder(), 'rows.jsonl'), rows.join(''));
  const settings = {
    ...{ model: modelFolder('chat'), data: 'rows.jsonl', output: 'out', sequenceLength: 60, lora: { rank: 4 } },
    ...{ gradientAccumulation: 1, epochs: 40, threads: 1 },
  };
  writeFileSync(join(folder(), 'train.yaml'), JSON.stringify(settings));
  const child = start(['train', 'train.yaml'], folder());
  child.stderr.resume();
  const ended = once(child, 'exit');
  const metrics = join(folder(), 'out', 'metrics.jsonl');
  while (child.exitCode === null && !(existsSync(metrics) && readFileSync(metrics, 'utf8').includes('"loss"')))
    await new Promise((resolve) => setTimeout(resolve, 10));
  child.kill('SIGINT');
  expect((await ended)[0]).toBe(130);
  const [checkpoint, ...more] = readdirSync(join(folder(), 'out', 'checkpoints'));
  expect(more).toEqual([]);
  const step = Number(/^step-(\d+)$/.exec(checkpoint!)![1]);
  const { status, stderr } = run(['train', 'train.yaml'], folder());
  expect(status).toBe(0);
  expect(stderr).toContain(`from the checkpoint of step ${step}`);
});

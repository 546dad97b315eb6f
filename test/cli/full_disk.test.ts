/** A disk that takes no more in the middle of a run, played by a limit on the size of files: one line, and what was finished is kept. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { modelFolder } from '../support/fixtures.js';
import { readRows, run, temporaryFolder, writeRows } from './command.js';

const folder = temporaryFolder();

it('stops training in one line, with the last whole checkpoint, and goes on from there', () => {
  const messages = (answer: number) => [
    { role: 'user', content: 'What?' },
    { role: 'assistant', content: `${answer}` },
  ];
  writeRows(
    join(folder(), 'rows.jsonl'),
    Array.from({ length: 12 }, (_, index) => ({ id: `${index}`, messages: messages(index) })),
  );
  const settings = {
    ...{ model: modelFolder('chat'), data: 'rows.jsonl', output: 'out', method: 'full', optimizer: 'adamw' },
    ...{ sequenceLength: 60, gradientAccumulation: 1, validationSplit: 0, checkpointEvery: 1 },
  };
  writeRows(join(folder(), 'train.yaml'), [settings]);
  // Kilobytes: enough for the tokenised rows and the metrics, too little for the optimizer's state.
  const limited = spawnSync(
    'bash',
    ['-c', `ulimit -f 100; exec "$0" "$@"`, process.execPath, resolve('dist/src/cli/main.js'), 'train', 'train.yaml'],
    {
      cwd: folder(),
      env: { ...process.env, NO_COLOR: '1', COMPRESS_DISTILL_CACHE: join(folder(), 'cache') },
      encoding: 'utf8',
    },
  );
  expect(limited.status).toBe(1);
  const errors = limited.stderr.split('\n').filter((line) => line.startsWith('error:'));
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatch(
    /state\.safetensors: cannot be written \(EFBIG\); free space on the disk or write elsewhere$/,
  );
  expect(readdirSync(join(folder(), 'out', 'checkpoints'))).toEqual([]);
  expect(existsSync(join(folder(), 'out', 'training.json'))).toBe(false);
  expect(readRows(join(folder(), 'out', 'metrics.jsonl'))).toHaveLength(1);

  const { status, stdout } = run(['train', 'train.yaml'], folder());
  expect(status).toBe(0);
  expect(stdout).toMatch(/^out: \d+ steps/);
});

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { modelFolder } from '../support/fixtures.js';
import { run, temporaryFolder, writeRows } from './command.js';

const folder = temporaryFolder();

function plan(changes: object, ...args: string[]) {
  writeRows(
    join(folder(), 'rows.jsonl'),
    Array.from({ length: 12 }, (_, index) => ({
      id: `${index}`,
      messages: [
        { role: 'user', content: 'How many?' },
        { role: 'assistant', content: `${index}` },
      ],
    })),
  );
  const settings = {
    ...{ model: modelFolder('chat'), data: 'rows.jsonl', output: 'out', sequenceLength: 64, threads: 1 },
    ...{ gradientAccumulation: 64, optimizer: 'adamw', lora: { rank: 4 }, ...changes },
  };
  writeFileSync(join(folder(), 'train.yaml'), JSON.stringify(settings));
  const outcome = run(['plan', 'train.yaml', ...args], folder());
  const [header = '', ...lines] = outcome.stdout.split('\n\n')[0]!.split('\n');
  return { ...outcome, header, rows: lines.map((line) => line.split(/ {2,}/)) };
}

it('says for each mesh what a step exchanges, what it waits for, and what that leaves', () => {
  const { status, stderr, stdout, header, rows } = plan({}, '--mesh', 'dp=8', '--mesh', 'dp=64', '--rate', '6400');
  expect(stderr).toBe('');
  expect(status).toBe(0);
  expect(header.split(/ {2,}/).slice(0, 4)).toEqual(['mesh', 'devices', 'dp sends', 'takes']);
  expect(rows.map(([mesh, devices]) => [mesh, devices])).toEqual([
    ['dp=8,tp=1', '8'],
    ['dp=64,tp=1', '64'],
  ]);
  // 64 micro-batches of 64 tokens at 6,400 tokens/s: 0.64 s on one device.
  expect(rows.map((row) => row[6])).toEqual(['80.0 ms', '10.0 ms']);
  expect(rows.map((row) => row[9])).toEqual(['51,200', '409,589']);
  expect(stdout).toContain('One device: 6,400 tokens/s, as given. A device sends 450 GB/s within a node of 8, 50 GB/s');
});

it('measures one device where its rate is not given', () => {
  const { status, stdout, rows } = plan({}, '--mesh', 'dp=2,tp=2');
  expect(status).toBe(0);
  expect(rows).toHaveLength(1);
  expect(stdout).toMatch(/One device: [\d,]+ tokens\/s, measured on cpu\./);
});

it('slower links cost time, and only those that a mesh crosses', () => {
  const efficiency = (...args: string[]) => {
    const [row] = plan({ method: 'full' }, '--rate', '6400', ...args).rows;
    return Number(row![10]!.replace(' %', ''));
  };
  const slow = ['--link-bandwidth', 'network=1e5'];
  expect(efficiency('--mesh', 'dp=64', ...slow)).toBeLessThan(20);
  expect(efficiency('--mesh', 'dp=64')).toBeGreaterThan(90);
  expect(efficiency('--mesh', 'dp=64', '--gpus-per-node', '64', ...slow)).toBeGreaterThan(90);
  expect(efficiency('--mesh', 'dp=8', ...slow)).toBeGreaterThan(90);
});

it('of the usual meshes it says which ones cannot be, and why', () => {
  const { status, stdout, rows } = plan({ gradientAccumulation: 8, optimizer: 'adamw_8bit' }, '--rate', '6400');
  expect(status).toBe(0);
  expect(rows.map(([mesh]) => mesh)).toEqual(['dp=8,tp=1', 'dp=4,tp=2', 'dp=2,tp=4']);
  expect(stdout).toMatch(/^dp=1,tp=8: Expected 'tp' to divide the model's 4 attention heads/m);
  expect(stdout).toMatch(/^dp=64,tp=1: .*'mesh.dp' .* 'gradientAccumulation', 8/m);
});

it.each([
  [['--mesh', 'dp=3,pp=2'], /Expected a mesh such as dp=2/],
  [['--mesh', 'tp=16'], /'tp'/],
  [['--link-bandwidth', 'ib=3'], /Expected bytes a second, such as nvlink=450e9,network=50e9/],
  [['--rate', '0'], /Expected a number above 0/],
])('%j is refused in one line', (args, message) => {
  const { status, errors } = plan({}, '--rate', '6400', ...args);
  expect(status).not.toBe(0);
  expect(errors).toHaveLength(1);
  expect(errors[0]).toMatch(message);
});

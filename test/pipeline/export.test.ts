import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { raplDifference, readRapl } from '../../src/pipeline/energy.js';
import { licenseOf } from '../../src/pipeline/export.js';
import { runStudy } from '../../src/pipeline/run.js';
import { readRows } from '../cli/command.js';
import { FakeServices, fakeStudy } from './fake_services.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'export-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('writes what students were trained on as parquet, with a card', async () => {
  await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices() });
  const datasets = join(folder, 'a', 'datasets');
  for (const arm of ['raw', 'short', 'truncated', 'answer-only']) {
    const trained = readRows<{ id: string; messages: unknown }>(
      join(folder, 'a', 'students', 'small', arm, 'data.jsonl'),
    );
    const rows = await parquetReadObjects({ file: await asyncBufferFromFile(join(datasets, `${arm}.parquet`)) });
    expect(rows.map(({ id, messages }) => ({ id, messages }))).toEqual(trained);
    expect(
      rows.every(({ reasoning }) => (arm === 'answer-only' ? reasoning === null : String(reasoning).length > 5)),
    ).toBe(true);
    expect(rows[0]).toMatchObject({ question: expect.stringMatching(/^What is/), answer_type: 'number' });
  }
  const card = readFileSync(join(datasets, 'README.md'), 'utf8');
  expect(card).toMatch(/^---\nconfigs:\n {2}- config_name: raw\n {4}data_files: raw\.parquet/);
  expect(card).toContain('| teacher | teacher | not known: the model has no card |');
  expect(card).toContain('Shorten. Reasoning: {{reasoning}}');
});

it("finds a model's licence in the catalogue or in its card", () => {
  expect(licenseOf('smollm2-135m-instruct')).toBe('Apache-2.0');
  writeFileSync(join(folder, 'README.md'), '---\nlanguage: en\nlicense: llama3.1\n---\n# A model\n');
  expect(licenseOf(folder)).toBe('llama3.1');
  writeFileSync(join(folder, 'README.md'), '# A model\n');
  expect(licenseOf(folder)).toBe('not stated by its card');
});

it('measures energy by the counters of all packages, over a counter that starts again', () => {
  const write = (index: number, microjoules: number) => {
    mkdirSync(join(folder, `intel-rapl:${index}`), { recursive: true });
    writeFileSync(join(folder, `intel-rapl:${index}`, 'energy_uj'), `${microjoules}\n`);
    writeFileSync(join(folder, `intel-rapl:${index}`, 'max_energy_range_uj'), '10000000\n');
  };
  write(0, 1_000_000);
  write(1, 9_500_000);
  mkdirSync(join(folder, 'intel-rapl:0:0')); // A part of package 0, counted there.
  const before = readRapl(folder);
  write(0, 4_000_000);
  write(1, 500_000);
  expect(raplDifference(before, readRapl(folder))).toBeCloseTo(3 + 1, 9);
  expect(readRapl(join(folder, 'nothing'))).toEqual([]);
  expect(raplDifference([], [])).toBeNull();
});

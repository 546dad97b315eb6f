// Better extraction judges stored texts again: nothing that was generated is generated again.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { extractAnswer as ExtractAnswer } from '../../src/data/extract.js';
import type { CompressionRow } from '../../src/pipeline/compress.js';
import type { EvaluationRow } from '../../src/pipeline/evaluate.js';
import { lookingContext, planStudy } from '../../src/pipeline/plan.js';
import { runStudy } from '../../src/pipeline/run.js';
import type { TraceRow } from '../../src/pipeline/traces.js';
import { readRows } from '../cli/command.js';
import { FakeServices, fakeStudy } from './fake_services.js';

/** How well answers are read, and what the code that reads them is called. */
const reading = vi.hoisted(() => ({ version: '1', blindTo: null as string | null }));
vi.mock('../../src/pipeline/verification.js', () => ({ verificationVersion: () => reading.version }));
vi.mock('../../src/data/extract.js', async (original) => {
  const real = await original<{ extractAnswer: typeof ExtractAnswer }>();
  const extractAnswer: typeof ExtractAnswer = (type, text, options) => {
    const found = real.extractAnswer(type, text, options);
    return found !== null && reading.blindTo !== null && found.answer.endsWith(reading.blindTo) ? null : found;
  };
  return { ...real, extractAnswer };
});

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'verification-'));
  Object.assign(reading, { version: '1', blindTo: null });
});
afterEach(() => rmSync(folder, { recursive: true }));

const rowsOf = <R>(...path: string[]) => readRows<R>(join(folder, 'a', ...path));

async function planOf(config = fakeStudy(folder, 'a')) {
  const { stages } = await planStudy(await lookingContext(config, new FakeServices()));
  return Object.fromEntries(stages.map((stage) => [stage.label, stage]));
}

it('takes answers that could not be read before, without asking anything of any model again', async () => {
  reading.blindTo = '4';
  await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices() });
  const before = rowsOf<TraceRow>('traces.jsonl');
  const missed = before.filter(({ reason }) => reason === 'no answer found');
  expect(missed.length).toBeGreaterThan(3);
  expect(before.every(({ judged }) => judged.length === 16)).toBe(true);

  Object.assign(reading, { version: '2', blindTo: null });
  const plan = await planOf();
  expect(plan.traces).toMatchObject({ state: 'to do', todo: 0, verify: 40, stale: 0 });
  expect(plan.traces!.why).toMatch(/^changed since: verification;/);
  expect(plan['compress short']).toMatchObject({ state: 'waits' });
  expect(plan['evaluate small untrained']).toMatchObject({ state: 'to do', todo: 0, verify: 30 });

  // A fresh study with the better reading, to compare with.
  const fresh = fakeStudy(folder, 'b');
  await runStudy(fresh, { services: new FakeServices() });
  const again = new FakeServices();
  await runStudy(fakeStudy(folder, 'a'), { services: again });
  const keys = new Set(before.map(({ key }) => key));
  expect(again.requests.filter((key) => keys.has(key))).toEqual([]);
  const traces = rowsOf<TraceRow>('traces.jsonl');
  expect(traces).toEqual(readRows(join(folder, 'b', 'traces.jsonl')));
  for (const { key } of missed.filter(({ attempt }) => attempt === 1)) {
    const now = traces.find((row) => row.key === key)!;
    expect(now).toMatchObject({
      ok: now.answer === String(rightSum(now.response)),
      answer: expect.stringMatching(/4$/),
    });
  }
  const students = (run: string) => readFileSync(join(folder, run, 'evaluations/small/raw.jsonl'), 'utf8');
  expect(students('a')).toBe(students('b'));
  expect(Object.values(await planOf()).filter(({ state }) => state !== 'done')).toEqual([]);
});

/** The right sum of what a stand-in's response repeats of its question. */
function rightSum(response: string): number {
  const [, a, b] = /given (\d+) and (\d+)/.exec(response)!;
  return Number(a) + Number(b);
}

it('generates further attempts where a verdict is withdrawn, and forgets those that are not wanted any more', async () => {
  await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices(), stages: ['traces'] });
  const before = rowsOf<TraceRow>('traces.jsonl');
  Object.assign(reading, { version: '2', blindTo: '4' });
  const stricter = new FakeServices();
  await runStudy(fakeStudy(folder, 'a'), { services: stricter, stages: ['traces'] });
  const withdrawn = before.filter(({ ok, answer, attempt }) => ok && attempt < 3 && answer!.endsWith('4'));
  expect(withdrawn.length).toBeGreaterThan(2);
  const asked = rowsOf<TraceRow>('traces.jsonl').filter(({ key }) => stricter.requests.includes(key));
  expect(new Set(asked.map(({ id }) => id))).toEqual(new Set(withdrawn.map(({ id }) => id)));
  Object.assign(reading, { version: '1', blindTo: null });
  const back = new FakeServices();
  await runStudy(fakeStudy(folder, 'a'), { services: back, stages: ['traces'] });
  expect(back.requests).toEqual([]);
  expect(rowsOf<TraceRow>('traces.jsonl')).toEqual(before);
});

it('judges again for another expected answer or another measure of what is usable, row by row', async () => {
  const config = fakeStudy(folder, 'a');
  await runStudy(config, { services: new FakeServices() });
  const path = join(folder, 'eval.jsonl');
  const rows = readFileSync(path, 'utf8').trimEnd().split('\n');
  rows[4] = JSON.stringify({ ...JSON.parse(rows[4]!), answer: 1 });
  writeFileSync(path, `${rows.join('\n')}\n`);
  const compressor = { ...config.compressors[0]!, maxRatio: 0.3 };
  const changed = { ...config, compressors: [compressor] };
  const plan = await planOf(changed);
  expect(plan.traces!.state).toBe('done');
  expect(plan['evaluate small untrained']).toMatchObject({ todo: 0, verify: 1 });
  expect(plan['evaluate small untrained']!.why).toBe('changed since: expected answers, or when a row is usable');
  expect(plan['compress short']).toMatchObject({
    todo: 0,
    verify: rowsOf('traces.jsonl').filter((r) => (r as TraceRow).ok).length,
  });

  const compressions = rowsOf<CompressionRow>('compressed', 'short.jsonl');
  const services = new FakeServices();
  await expect(runStudy(changed, { services })).rejects.toThrow(/no usable compression .*longer than 0\.3/);
  const strict = rowsOf<CompressionRow>('compressed', 'short.jsonl');
  expect(services.requests.filter((key) => compressions.some((row) => row.key === key))).toEqual([]);
  expect(strict.filter(({ attempt }) => attempt === 1)).toMatchObject(
    compressions.filter(({ attempt }) => attempt === 1).map(({ key, response }) => ({ key, response, ok: false })),
  );
  await runStudy(config, { services });
  const [fourth] = rowsOf<EvaluationRow>('evaluations', 'small', 'untrained.jsonl').slice(4);
  expect(fourth).toMatchObject({ ok: false, expected: '1', reason: 'wrong answer' });
});

it('goes on where it was stopped while judging again', async () => {
  const config = fakeStudy(folder, 'a');
  await runStudy(config, { services: new FakeServices(), stages: ['traces'] });
  const done = readFileSync(join(folder, 'a', 'traces.jsonl'), 'utf8');
  Object.assign(reading, { version: '2', blindTo: '4' });
  const services = new FakeServices({
    dieAfter: 1,
    stop: () => {
      throw new Error('killed');
    },
  });
  await expect(runStudy(config, { services, stages: ['traces'] })).rejects.toThrow('killed');
  // Verdicts of round 1 stand there twice, the old one and the new one; a row that was torn goes.
  writeFileSync(join(folder, 'a', 'traces.jsonl'), '{"key":"torn","id":"äö', { flag: 'a' });
  Object.assign(reading, { version: '1', blindTo: null });
  const again = new FakeServices();
  await runStudy(config, { services: again, stages: ['traces'] });
  expect(again.requests).toEqual([]);
  expect(readFileSync(join(folder, 'a', 'traces.jsonl'), 'utf8')).toBe(done);
});

it('has a name for the code that reaches verdicts', async () => {
  const { verificationVersion } = await vi.importActual<{ verificationVersion: () => string }>(
    '../../src/pipeline/verification.js',
  );
  expect(verificationVersion()).toMatch(/^[0-9a-f]{16}$/);
});

import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { CompressionRow } from '../../src/pipeline/compress.js';
import type { EvaluationRow } from '../../src/pipeline/evaluate.js';
import { Interrupted } from '../../src/pipeline/interrupted.js';
import { runStudy } from '../../src/pipeline/run.js';
import type { TraceRow } from '../../src/pipeline/traces.js';
import { FakeServices, fakeStudy } from './fake_services.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'study-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function rowsOf<R>(...path: string[]): R[] {
  return readFileSync(join(folder, ...path), 'utf8')
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as R);
}

/** All row files and results of a run, by path; what holds times is left out. */
function contents(run: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const path of readdirSync(join(folder, run), { recursive: true }) as string[]) {
    if (/manifest|report|distill/.test(path) || statSync(join(folder, run, path)).isDirectory()) continue;
    files[path] = readFileSync(join(folder, run, path), 'utf8')
      .replaceAll(`/${run}/`, '/RUN/')
      .replaceAll(`of ${run}\n`, 'of RUN\n');
  }
  return files;
}

it('runs a study: correct traces, usable compressions, matched arms, evaluations, a report', async () => {
  const config = fakeStudy(folder, 'a');
  const services = new FakeServices();
  const outcome = await runStudy(config, { services, settings: 'run: a\n' });

  const traces = rowsOf<TraceRow>('a', 'traces.jsonl');
  const correct = traces.filter((row) => row.ok);
  expect(new Set(traces.map((row) => row.attempt)).size).toBeGreaterThan(1);
  expect(traces.filter((row) => row.attempt === 1)).toHaveLength(40);
  expect(traces.filter((row) => row.attempt === 2)).toHaveLength(
    traces.filter((row) => row.attempt === 1 && !row.ok).length,
  );
  expect(new Set(correct.map((row) => row.id)).size).toBe(correct.length);
  expect(correct.every((row) => row.reason === undefined && !row.reasoning.includes('<think>'))).toBe(true);
  expect(traces.filter((row) => !row.ok).every((row) => row.reason === 'wrong answer')).toBe(true);
  expect(new Set(traces.map((row) => row.key)).size).toBe(traces.length);

  const compressions = rowsOf<CompressionRow>('a', 'compressed', 'short.jsonl').filter((row) => row.ok);
  const [example] = compressions;
  const original = correct.find((row) => row.id === example!.id)!;
  expect(example!.ratio).toBeCloseTo(example!.reasoning.length / original.reasoning.length, 3);
  expect(example!.tokens).toBe(Math.ceil(example!.originalTokens / 2));
  const truncated = rowsOf<{ id: string; reasoning: string }>('a', 'truncated.jsonl').find(
    (row) => row.id === example!.id,
  )!;
  expect(original.reasoning.startsWith(truncated.reasoning)).toBe(true);
  expect(truncated.reasoning.split(' ')).toHaveLength(example!.tokens);

  const data = (arm: string) =>
    rowsOf<{ id: string; messages: { role: string; content: string }[] }>('a', 'students', 'small', arm, 'data.jsonl');
  const ids = data('raw').map((row) => row.id);
  expect(ids.length).toBe(compressions.length);
  for (const arm of ['short', 'truncated', 'answer-only']) expect(data(arm).map((row) => row.id)).toEqual(ids);
  const number = (id: string) => Number(id.split('-')[1]);
  const answer = 3 * number(ids[0]!) + 4;
  expect(data('answer-only')[0]!.messages).toEqual([
    { role: 'user', content: `What is ${number(ids[0]!) + 3} + ${2 * number(ids[0]!) + 1}?` },
    { role: 'assistant', content: `The answer is ${answer}.` },
  ]);
  expect(data('raw')[0]!.messages[1]!.content).toBe(
    `<think>\n${correct.find((row) => row.id === ids[0])!.reasoning}\n</think>\n\nThe answer is ${answer}.`,
  );

  for (const arm of ['untrained', 'raw', 'short', 'truncated', 'answer-only']) {
    const rows = rowsOf<EvaluationRow>('a', 'evaluations', 'small', `${arm}.jsonl`);
    expect(rows.map((row) => row.id)).toEqual(Array.from({ length: 30 }, (_, index) => `eval-${index}`));
    expect(rows.every((row) => row.ok === (row.answer === row.expected))).toBe(true);
    expect(rows[0]!.reasoningTokens).toBeGreaterThan(5);
    expect(outcome.data!.students[0]!.arms.map((report) => report.arm)).toContain(arm);
  }
  expect(outcome.reports.every((path) => existsSync(path))).toBe(true);
  expect(readFileSync(join(folder, 'a', 'distill.yaml'), 'utf8')).toBe('run: a\n');
  const manifest = JSON.parse(readFileSync(join(folder, 'a', 'manifest.json'), 'utf8'));
  expect(manifest.stages.traces).toMatchObject({ state: 'done', kept: correct.length, failed: 40 - correct.length });
  expect(manifest.models).toEqual({ teacher: 'teacher 1', compressor: 'compressor 1', student: 'student 1' });
  expect(existsSync(join(folder, 'a', 'lock'))).toBe(false);
});

it('asks nothing again when it is started again', async () => {
  const config = fakeStudy(folder, 'a');
  await runStudy(config, { services: new FakeServices() });
  const before = contents('a');
  const again = new FakeServices({ order: 9 });
  await runStudy(config, { services: again });
  expect(again.requests).toEqual([]);
  expect(again.trainings).toEqual([]);
  expect(contents('a')).toEqual(before);
});

it.each([1, 17, 41, 63, 95, 120, 141, 146, 160, 230, 270])(
  'dies after %i steps of work, leaves a torn row, and ends as an undisturbed run does',
  async (dieAfter) => {
    await runStudy(fakeStudy(folder, 'undisturbed'), { services: new FakeServices({ order: 1 }) });
    const config = fakeStudy(folder, 'killed');
    const dying = new FakeServices({
      order: 2,
      dieAfter,
      stop: () => {
        throw new Error('killed');
      },
    });
    await expect(runStudy(config, { services: dying })).rejects.toThrow('killed');
    for (const path of readdirSync(join(folder, 'killed'), { recursive: true }) as string[]) {
      if (/^(traces|compressed.*|evaluations.*)\.jsonl$/.test(path)) {
        appendFileSync(join(folder, 'killed', path), '{"key":"torn","id":"äö');
      }
    }
    const resumed = new FakeServices({ order: 3 });
    await runStudy(config, { services: resumed });
    expect(contents('killed')).toEqual(contents('undisturbed'));
    expect(resumed.requests.filter((id) => dying.requests.slice(0, -1).includes(id))).toEqual([]);
  },
);

it.each([5, 50, 130, 145, 200])(
  'stops when interrupted after %i steps of work and goes on from there',
  async (dieAfter) => {
    await runStudy(fakeStudy(folder, 'undisturbed'), { services: new FakeServices() });
    const config = fakeStudy(folder, 'stopped');
    const controller = new AbortController();
    const services = new FakeServices({ dieAfter, stop: () => controller.abort() });
    await expect(runStudy(config, { services, signal: controller.signal })).rejects.toThrow(Interrupted);
    const resumed = new FakeServices();
    await runStudy(config, { services: resumed });
    expect(contents('stopped')).toEqual(contents('undisturbed'));
    expect(services.requests.length + resumed.requests.length).toBeLessThan(400);
  },
);

it('continues a half-trained student from its checkpoint', async () => {
  const config = fakeStudy(folder, 'a', { students: [{ name: 'small', model: 'student', arms: ['raw'] }] });
  await runStudy(config, { services: new FakeServices(), stages: ['traces', 'compress', 'truncate', 'answer-only'] });
  const dying = new FakeServices({
    dieAfter: 3,
    stop: () => {
      throw new Error('killed');
    },
  });
  await expect(runStudy(config, { services: dying, stages: ['train'] })).rejects.toThrow('killed');
  const resumed = new FakeServices();
  await runStudy(config, { services: resumed, stages: ['train'] });
  expect(resumed.trainings).toEqual(['raw from 3']);
});

it('re-does what depends on a changed prompt, and only that', async () => {
  await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices() });
  const changed = new FakeServices();
  const config = fakeStudy(folder, 'a', {
    compressors: [
      { name: 'short', model: 'compressor', attempts: 2, prompt: 'Make it short. Reasoning: {{reasoning}}' },
    ],
  });
  await runStudy(config, { services: changed });
  const attempts = rowsOf<TraceRow>('a', 'traces.jsonl');
  expect(changed.requests.filter((id) => attempts.some((row) => row.key === id))).toEqual([]);
  expect(changed.trainings.every((training) => training.endsWith('from 0'))).toBe(true);
  const compressions = rowsOf<CompressionRow>('a', 'compressed', 'short.jsonl');
  expect(compressions.every((row) => changed.requests.includes(row.key))).toBe(true);
});

it('asks more questions without asking the old ones again, and forgets those no longer asked', async () => {
  const few = fakeStudy(folder, 'a', { questions: { train: { count: 20 } } });
  await runStudy(few, { services: new FakeServices(), stages: ['traces'] });
  const before = rowsOf<TraceRow>('a', 'traces.jsonl').map((row) => row.key);
  const more = new FakeServices();
  await runStudy(fakeStudy(folder, 'a'), { services: more, stages: ['traces'] });
  expect(more.requests.filter((key) => before.includes(key))).toEqual([]);
  expect(more.requests).toHaveLength(rowsOf('a', 'traces.jsonl').length - before.length);
  const all = contents('a')['traces.jsonl']!;
  await runStudy(fakeStudy(folder, 'b'), { services: new FakeServices(), stages: ['traces'] });
  expect(all).toBe(contents('b')['traces.jsonl']);
  await runStudy(few, { services: new FakeServices(), stages: ['traces'] });
  expect(new Set(rowsOf<TraceRow>('a', 'traces.jsonl').map((row) => row.id)).size).toBe(20);
});

it('makes everything again for another model', async () => {
  await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices(), stages: ['traces'] });
  const before = rowsOf<TraceRow>('a', 'traces.jsonl').map((row) => row.key);
  await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices({ version: '2' }), stages: ['traces'] });
  expect(rowsOf<TraceRow>('a', 'traces.jsonl').filter((row) => before.includes(row.key))).toEqual([]);
});

it('makes everything again for keys and values in fp8, and nothing for sizes of the engine', async () => {
  await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices(), stages: ['traces'] });
  const before = rowsOf<TraceRow>('a', 'traces.jsonl').map((row) => row.key);
  for (const [engine, kept] of [
    [{ maxNumSeqs: 3, kvCacheDtype: 'auto' }, before.length],
    [{ kvCacheDtype: 'fp8' }, 0],
  ] as const) {
    await runStudy(fakeStudy(folder, 'a', { engine }), { services: new FakeServices(), stages: ['traces'] });
    expect(rowsOf<TraceRow>('a', 'traces.jsonl').filter((row) => before.includes(row.key))).toHaveLength(kept);
  }
});

it('runs one stage by name, and says which one must come first', async () => {
  const config = fakeStudy(folder, 'a');
  await expect(runStudy(config, { services: new FakeServices(), stages: ['compress'] })).rejects.toThrow(
    /Expected stage 'traces' to be complete but 40 of 40 rows are to be done; run 'traces' first/,
  );
  await runStudy(config, { services: new FakeServices(), stages: ['traces'] });
  await runStudy(config, { services: new FakeServices(), stages: ['compress'] });
  expect(existsSync(join(folder, 'a', 'compressed', 'short.jsonl'))).toBe(true);
  await expect(runStudy(config, { services: new FakeServices(), stages: ['report'] })).rejects.toThrow(
    /Expected stage 'truncate'/,
  );
});

it('keeps failing rows with their reason, and fails a stage that has none left', async () => {
  const cut = new FakeServices({ complete: () => ({ finishReason: 'length' }) });
  await expect(runStudy(fakeStudy(folder, 'a'), { services: cut })).rejects.toThrow(
    /Stage 'traces' found no correct trace among 120 attempts: cut off at the token limit \(120\); raise/,
  );
  expect(rowsOf<TraceRow>('a', 'traces.jsonl').every((row) => row.reason === 'cut off at the token limit')).toBe(true);

  const empty = new FakeServices({ complete: (_, model) => (model === 'compressor' ? { text: ' ' } : undefined) });
  await expect(runStudy(fakeStudy(folder, 'b'), { services: empty })).rejects.toThrow(
    /Stage 'compress' has no usable compression by 'short' among \d+: empty \(\d+\); change its 'prompt'/,
  );
});

it('takes a failed request for a failed row, and goes on', async () => {
  let failures = 0;
  const services = new FakeServices({
    complete: (request) =>
      request.messages[0]!.content.includes('What is 5 ') && ++failures < 3
        ? { finishReason: 'error', error: 'prompt too long', text: '' }
        : undefined,
  });
  await runStudy(fakeStudy(folder, 'a'), { services, stages: ['traces'] });
  expect(rowsOf<TraceRow>('a', 'traces.jsonl').filter((row) => row.reason === 'error: prompt too long')).toHaveLength(
    2,
  );
});

it('counts a response cut off at the cap as truncated, with the answer only if it is stated', async () => {
  const services = new FakeServices({
    complete: (request, model) => {
      if (model !== 'student') return undefined;
      const id = Number(/What is (\d+)/.exec(request.messages[0]!.content)![1]) - 100;
      if (id === 0) return { finishReason: 'length', text: '<think>\n100 + 1 = 101' };
      if (id === 1) return { finishReason: 'length', text: '<think>x</think> The answer is 104. So' };
      if (id === 2) return { finishReason: 'length', text: '<think>x</think> it is 107' };
      return undefined;
    },
  });
  await runStudy(fakeStudy(folder, 'a', { evaluate: { baseline: false } }), { services });
  const rows = rowsOf<EvaluationRow>('a', 'evaluations', 'small', 'raw.jsonl');
  expect(rows.slice(0, 4).map(({ ok, truncated, answer }) => ({ ok, truncated, answer }))).toEqual([
    { ok: false, truncated: true, answer: null },
    { ok: true, truncated: true, answer: '104' },
    { ok: false, truncated: true, answer: null },
    expect.objectContaining({ truncated: false }),
  ]);
  expect(rows[0]!.reasoningTokens).toBe(5);
});

it('says which line of a row file is damaged', async () => {
  const config = fakeStudy(folder, 'a');
  await runStudy(config, { services: new FakeServices(), stages: ['traces'] });
  const path = join(folder, 'a', 'traces.jsonl');
  const lines = readFileSync(path, 'utf8').split('\n');
  lines[2] = lines[2]!.slice(0, 20);
  writeFileSync(path, lines.join('\n'));
  await expect(runStudy(config, { services: new FakeServices() })).rejects.toThrow(
    /traces\.jsonl:3: Expected a row of this run/,
  );
});

it('refuses a folder that another process uses, and takes over one whose process is gone', async () => {
  const config = fakeStudy(folder, 'a');
  await runStudy(config, { services: new FakeServices(), stages: ['traces'] });
  const lock = join(folder, 'a', 'lock');
  const started = (pid: number) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[19]!;
  const hold = (holder: object) => writeFileSync(lock, JSON.stringify(holder));
  hold({ pid: process.ppid, host: hostname(), started: started(process.ppid) });
  await expect(runStudy(config, { services: new FakeServices() })).rejects.toThrow(
    /to be free but process \d+ is using it/,
  );
  hold({ pid: process.ppid, host: 'elsewhere', started: '1' });
  await expect(runStudy(config, { services: new FakeServices() })).rejects.toThrow(
    /process \d+ on elsewhere is using it/,
  );
  for (const gone of [
    { pid: 4194999, host: hostname(), started: '1' },
    { pid: process.ppid, host: hostname(), started: '1' },
  ]) {
    hold(gone); // No such process, and one that got its id later.
    await runStudy(config, { services: new FakeServices(), stages: ['traces'] });
    expect(existsSync(lock)).toBe(false);
  }
  writeFileSync(lock, '');
  await runStudy(config, { services: new FakeServices(), stages: ['traces'] });
  expect(existsSync(lock)).toBe(false);
});

it('refuses to evaluate what it trains on', async () => {
  const config = fakeStudy(folder, 'a', { questions: { eval: { file: join(folder, 'train.jsonl') } } });
  await expect(runStudy(config, { services: new FakeServices() })).rejects.toThrow(
    /Expected 'questions\.eval' to hold no question of/,
  );
});

it('puts solved examples before the question, as earlier turns', async () => {
  const asked: string[] = [];
  const services = new FakeServices({
    complete: ({ messages }, model) => {
      asked.push(`${model}: ${messages.map(({ role, content }) => `${role} ${content}`).join(' | ')}`);
      return undefined;
    },
  });
  const config = fakeStudy(folder, 'a', {
    teacher: {
      system: 'Be brief.',
      examples: [{ question: 'What is 1 + 1?', response: '2' }],
      prompt: 'Q: {{question}}',
    },
  });
  await runStudy(config, { services, stages: ['traces'] });
  expect(asked).toContain('teacher: system Be brief. | user Q: What is 1 + 1? | assistant 2 | user Q: What is 3 + 1?');
});

it('takes a compression without the answer for unusable where the answer must be kept', async () => {
  const compressors = [
    { name: 'short', model: 'compressor', attempts: 2, keepAnswer: true, prompt: 'Reasoning: {{reasoning}}' },
  ];
  const services = new FakeServices({
    complete: ({ messages, sampling }, model) => {
      if (model !== 'compressor') return undefined;
      const sum = /to get (\d+)/.exec(messages[0]!.content)![1]!;
      return { text: sampling.seed % 2 === 0 ? `It is ${sum}.` : 'It is 5000.' };
    },
  });
  await runStudy(fakeStudy(folder, 'a', { compressors }), { services, stages: ['traces', 'compress'] });
  const rows = rowsOf<CompressionRow>('a', 'compressed', 'short.jsonl');
  expect(rows.some((row) => row.attempt === 2 && row.ok)).toBe(true);
  expect(rows.every((row) => (row.ok ? row.reason === undefined : row.reason === 'answer lost'))).toBe(true);
  expect(rows.every((row) => row.ok !== row.reasoning.includes('5000'))).toBe(true);
});

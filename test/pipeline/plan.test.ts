import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StudyConfig } from '../../src/pipeline/config.js';
import { decodeSeconds } from '../../src/pipeline/decode_time.js';
import { lookingContext, planStudy } from '../../src/pipeline/plan.js';
import { predict } from '../../src/pipeline/predict.js';
import { RateBook } from '../../src/pipeline/rates.js';
import { runStudy } from '../../src/pipeline/run.js';
import type { Expected } from '../../src/report/expected.js';
import { readRows } from '../cli/command.js';
import { FakeServices, fakeStudy } from './fake_services.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'plan-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function planOf(config: StudyConfig, services = new FakeServices()) {
  const { stages } = await planStudy(await lookingContext(config, services));
  return Object.fromEntries(stages.map((stage) => [stage.label, stage]));
}

const notDone = (plan: Awaited<ReturnType<typeof planOf>>) =>
  Object.values(plan)
    .filter(({ state }) => state !== 'done')
    .map(({ label, state, why }) => `${label} ${state}: ${why}`);

/** Every file with its content. */
function snapshot(): Record<string, string> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files.map(({ parentPath, name }) => [join(parentPath, name), readFileSync(join(parentPath, name), 'base64')]),
  );
}

const shorter = [{ name: 'short', model: 'compressor', attempts: 2, prompt: 'Be short. Reasoning: {{reasoning}}' }];

it('before the first start all is to do, and nothing is written to find that out', async () => {
  const plan = await planOf(fakeStudy(folder, 'a'));
  expect(plan.traces).toMatchObject({ state: 'to do', there: 0, todo: 40, stale: 0 });
  expect(plan.traces!.why).toMatch(/^not begun; up to \d+ more tries for those that fail$/);
  expect(plan['compress short']).toMatchObject({ state: 'waits', todo: null, why: 'waits for traces' });
  expect(plan['evaluate small untrained']).toMatchObject({ state: 'to do', todo: 30 });
  expect(plan['evaluate small raw']).toMatchObject({ state: 'waits', why: 'waits for train small raw' });
  expect(existsSync(join(folder, 'a'))).toBe(false);
});

it('after a run nothing is to do', async () => {
  const config = fakeStudy(folder, 'a');
  await runStudy(config, { services: new FakeServices() });
  const before = snapshot();
  expect(notDone(await planOf(config))).toEqual([]);
  expect(snapshot()).toEqual(before);
});

it.each<[string, Record<string, unknown>, FakeServices, RegExp, string[]]>([
  [
    'a prompt',
    { compressors: shorter },
    new FakeServices(),
    /^compress short to do: changed since: prompt/,
    ['traces', 'answer-only', 'evaluate small untrained'],
  ],
  ['a model', {}, new FakeServices({ version: '2' }), /^traces to do: changed since: model/, []],
  [
    'a parameter of sampling',
    { teacher: { sampling: { temperature: 0.9 } } },
    new FakeServices(),
    /^traces to do: changed since: sampling/,
    ['evaluate small untrained'],
  ],
  [
    'a setting of training',
    { students: [{ name: 'small', model: 'student', training: { epochs: 3 } }] },
    new FakeServices(),
    /^train small raw to do: changed since: settings/,
    ['traces', 'compress short', 'truncate', 'answer-only', 'evaluate small untrained'],
  ],
  [
    'what the machine computes',
    {},
    new FakeServices({ numerics: 'cpu avx2 12345678' }),
    /^traces to do: changed since: numerics/,
    [],
  ],
])(
  '%s that changed re-does what depends on it, and only that, and says so beforehand',
  async (_, changes, services, why, kept) => {
    await runStudy(fakeStudy(folder, 'a'), { services: new FakeServices() });
    const config = fakeStudy(folder, 'a', changes);
    const plan = await planOf(config, services);
    expect(notDone(plan)[0]).toMatch(why);
    const done = Object.values(plan).filter(({ state }) => state === 'done');
    expect(done.map(({ label }) => label).sort()).toEqual([...kept].sort());
    // The run does what was said: what stays is not asked for again.
    await runStudy(config, { services });
    for (const path of kept.includes('traces') ? ['traces.jsonl'] : [])
      expect(services.requests.filter((key) => readFileSync(join(folder, 'a', path), 'utf8').includes(key))).toEqual(
        [],
      );
    expect(notDone(await planOf(config, services))).toEqual([]);
  },
);

it('trains again for another text of the file that names the loss, and not for another way to run', async () => {
  const objective = join(folder, 'mine.ts');
  const config = (training: object) =>
    fakeStudy(folder, 'a', { students: [{ name: 'small', model: 'student', training: { objective, ...training } }] });
  writeFileSync(objective, "import { x } from './constant.ts'; export default () => x;");
  writeFileSync(join(folder, 'constant.ts'), 'export const x = 1;');
  await runStudy(config({}), { services: new FakeServices() });
  expect(
    notDone(await planOf(config({ activationCheckpointing: 'none', mesh: { dp: 2 }, checkpointEvery: 3 }))),
  ).toEqual([]);
  writeFileSync(join(folder, 'constant.ts'), 'export const x = 2;');
  expect(notDone(await planOf(config({})))[0]).toBe('train small raw to do: changed since: files');
});

it('says which rows a changed question touches, and asks only for those', async () => {
  const config = fakeStudy(folder, 'a', { truncate: false });
  await runStudy(config, { services: new FakeServices(), stages: ['traces'] });
  const path = join(folder, 'train.jsonl');
  const rows = readFileSync(path, 'utf8').trimEnd().split('\n');
  rows[3] = JSON.stringify({ id: 'train-3', question: 'What is 600 + 7?', answer: 607, answerType: 'number' });
  writeFileSync(path, `${rows.join('\n')}\n`);
  const again = fakeStudyOn(config);
  const { traces } = await planOf(again);
  expect(traces).toMatchObject({ state: 'to do', todo: 1 });
  expect(traces!.stale).toBeGreaterThan(0);
  expect(traces!.why).toMatch(/^changed since: the rows that it works on/);
});

/** The same settings; `fakeStudy` would write the questions anew. */
function fakeStudyOn(config: StudyConfig): StudyConfig {
  return structuredClone(config);
}

it('after an interruption it counts what is there', async () => {
  const config = fakeStudy(folder, 'a');
  const stop = () => {
    throw new Error('killed');
  };
  await expect(runStudy(config, { services: new FakeServices({ dieAfter: 11, stop }) })).rejects.toThrow('killed');
  const { traces } = await planOf(config);
  expect(traces).toMatchObject({ state: 'to do', there: 11, todo: 29, stale: 0 });
  expect(traces!.why).toMatch(/^not finished/);
});

describe('a prediction', () => {
  const predictNow = async (config: StudyConfig) => {
    const services = new FakeServices();
    const context = await lookingContext(config, services);
    const rates = new RateBook(config, join(folder, 'rates.json'));
    return { ...(await predict(context, await planStudy(context), rates)), measured: services.measured };
  };
  const inside = ({ low, high }: Expected, value: number) => low <= value && value <= high;

  it('rests on priors before, on sampled lengths after, and is kept for the report', async () => {
    const config = fakeStudy(folder, 'a');
    const before = await predictNow(config);
    // A student answers at several lengths of context: untrained, with traces, without.
    expect(before.measured).toEqual(['teacher', 'compressor', 'train student', 'student', 'student']);
    expect(before.prediction.basis).toMatch(/^Lengths assumed: traces of 500–8000 tokens, 20–90 % of them usable; /);
    expect(before.prediction.basis).toMatch(/Speeds measured on this machine at the study's batch, context and packs/);
    expect((await predictNow(config)).measured, 'what was measured is remembered').toEqual([]);
    for (const { tokens, seconds } of before.stages) {
      expect(inside(tokens, tokens.expected)).toBe(true);
      expect(seconds.low).toBeLessThan(seconds.expected);
      expect(seconds.high).toBeGreaterThan(seconds.expected);
    }

    const { data } = await runStudy(config, { services: new FakeServices(), prediction: before.prediction });
    expect(data!.prediction!.stages.map(({ stage }) => stage)).toEqual(Object.keys(before.prediction.stages));
    const traces = data!.prediction!.stages.find(({ stage }) => stage === 'traces')!;
    expect(traces.predicted).toEqual(before.prediction.stages.traces);
    const rows = readRows<{ completionTokens: number }>(join(folder, 'a', 'traces.jsonl'));
    const written = rows.reduce((sum, { completionTokens }) => sum + completionTokens, 0);
    expect(traces.actual.tokens).toBe(written);

    const after = await predictNow(config);
    expect(after.prediction.basis).toMatch(/^Lengths from \d+ rows sampled so far\./);
    expect(after.stages.every(({ left }) => left === 0)).toBe(true);
    const { tokens } = after.prediction.stages.traces!;
    expect(inside(tokens, written)).toBe(true);
    expect(tokens.high / tokens.low).toBeLessThan(3);
  });

  it('takes the examples of a prompt for what the model will write', async () => {
    const response = 'one two three four five six seven eight nine ten';
    const config = fakeStudy(folder, 'a', { teacher: { examples: [{ question: 'What?', response }] } });
    const { prediction } = await predictNow(config);
    expect(prediction.basis).toMatch(/assumed: traces of 5–20 tokens/);
    // 40 questions of which half stay in each round: 40 + 20 + 10; four of five as long as the example, one runs on.
    expect(prediction.stages.traces!.tokens.expected).toBeCloseTo(70 * (0.8 * 10 + 0.2 * 40), 0);
  });

  it('reckons with the batch, its end in small ones, and the opening of models', async () => {
    const config = fakeStudy(folder, 'a', {
      teacher: { attempts: 1, sampling: { maxTokens: 8 } },
      engine: { maxNumSeqs: 16 },
    });
    const { prediction } = await predictNow(config);
    // 40 texts of 4 tokens, one in five of 8, 16 at once, at 0.01 + 0.001 per sequence; prompts and opening beside it.
    const { expected } = prediction.stages.traces!.seconds;
    const decoding = decodeSeconds([4, 4, 4, 4, 8], 40, 16, { base: 0.01, perSequence: 0.001 });
    expect(expected).toBeGreaterThan(1 + decoding);
    expect(expected).toBeLessThan(1 + decoding + 0.5);
    const student = prediction.stages['train small raw']!;
    expect(student.seconds.expected).toBeGreaterThan(2);
  });

  it('takes what a stage has done so far for the rest of it', async () => {
    const config = fakeStudy(folder, 'a');
    await runStudy(config, { services: new FakeServices(), stages: ['traces'] });
    const manifest = JSON.parse(readFileSync(join(folder, 'a', 'manifest.json'), 'utf8'));
    manifest.stages.traces.seconds = 1234;
    writeFileSync(join(folder, 'a', 'manifest.json'), JSON.stringify(manifest));
    const { stages } = await predictNow(config);
    expect(stages[0]).toMatchObject({ label: 'traces', seconds: { expected: 1234 }, left: 0 });
  });
});

describe('the time of a batch', () => {
  const step = { base: 1, perSequence: 0.1 };
  /** Step by step, in the plainest way. */
  const plain = (lengths: number[], seats: number) => {
    const waiting = [...lengths];
    let running: number[] = [];
    let seconds = 0;
    while (waiting.length + running.length > 0) {
      while (running.length < seats && waiting.length > 0) running.push(waiting.shift()!);
      seconds += step.base + step.perSequence * running.length;
      running = running.map((left) => left - 1).filter((left) => left > 0);
    }
    return seconds;
  };

  it.each([
    [1, 1],
    [5, 8],
    [8, 8],
    [100, 8],
    [100, 1],
  ])('of %i texts in %i seats is that of its steps', (rows, seats) => {
    expect(decodeSeconds([7], rows, seats, step)).toBeCloseTo(plain(Array(rows).fill(7), seats), 9);
    // Lengths that are spread: within a long text of the plain order.
    const lengths = Array.from({ length: rows }, (_, index) => [3, 7, 20][index % 3]!);
    const mixed = decodeSeconds([3, 7, 20], rows, seats, step);
    expect(Math.abs(mixed - plain(lengths, seats))).toBeLessThanOrEqual(20 * (step.base + step.perSequence * seats));
  });

  it('of very many texts is that of full batches', () => {
    const seconds = decodeSeconds([100, 300], 1_000_000, 100, step);
    expect(seconds / ((1_000_000 * 200 * (step.base + step.perSequence * 100)) / 100)).toBeCloseTo(1, 2);
  });
});

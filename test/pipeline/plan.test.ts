import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { StudyConfig } from '../../src/pipeline/config.js';
import { lookingContext, planStudy } from '../../src/pipeline/plan.js';
import { predict } from '../../src/pipeline/predict.js';
import { RateBook } from '../../src/pipeline/rates.js';
import { runStudy } from '../../src/pipeline/run.js';
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

it('predicts from priors before, from sampled lengths after, and keeps what was expected for the report', async () => {
  const config = fakeStudy(folder, 'a');
  const rates = new RateBook(config, join(folder, 'rates.json'));
  const services = new FakeServices();
  const predictNow = async () => {
    const context = await lookingContext(config, services);
    const measured: string[] = [];
    const measure = async (model: string) => {
      measured.push(model);
      return { inference: { prefill: 1000, decode: 100 } };
    };
    const predicted = await predict(context, await planStudy(context), rates, measure);
    return { ...predicted, measured };
  };
  const before = await predictNow();
  expect(before.measured.sort()).toEqual(['compressor', 'student', 'teacher']);
  expect(before.prediction.basis).toMatch(/assumed: traces of 2000 tokens, 70 % right/);
  expect((await predictNow()).measured, 'what was measured is remembered').toEqual([]);

  const { data } = await runStudy(config, { services, prediction: before.prediction });
  expect(data!.prediction!.stages.map(({ stage }) => stage)).toEqual(Object.keys(before.prediction.stages));
  const traces = data!.prediction!.stages.find(({ stage }) => stage === 'traces')!;
  expect(traces.predicted).toEqual(before.prediction.stages.traces);
  const rows = readFileSync(join(folder, 'a', 'traces.jsonl'), 'utf8')
    .trimEnd()
    .split('\n');
  const written = rows.reduce(
    (sum, line) => sum + (JSON.parse(line) as { completionTokens: number }).completionTokens,
    0,
  );
  expect(traces.actual.tokens).toBe(written);

  const after = await predictNow();
  expect(after.prediction.basis).toMatch(/^Lengths from \d+ rows sampled so far\./);
  expect(after.stages.every(({ left }) => left === 0)).toBe(true);
  const expected = after.prediction.stages.traces!.tokens;
  expect(Math.abs(expected - written) / written).toBeLessThan(0.2);
});

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseStudyConfig, type StudyConfig } from '../../src/pipeline/config.js';
import { createEngineServices } from '../../src/pipeline/engine_services.js';
import type { EvaluationRow } from '../../src/pipeline/evaluate.js';
import { runStudy } from '../../src/pipeline/run.js';
import type { Services, TextCompletion } from '../../src/pipeline/services.js';
import { renderArmTable } from '../../src/report/markdown.js';
import { parseTrainConfig, type TrainSettings } from '../../src/training/config.js';
import { train } from '../../src/training/train.js';
import { readRows } from '../cli/command.js';
import { modelFolder } from '../support/fixtures.js';
import { tinyStudy } from './tiny_study.js';

let folder = '';
let config: StudyConfig;
let services: Services;
const notes: string[] = [];
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'engine-'));
  config = parseStudyConfig(tinyStudy(folder, 'run'));
  services = createEngineServices(config, (line) => notes.push(line));
});
afterAll(async () => {
  await services.close();
  rmSync(folder, { recursive: true });
});

it('runs a study on engine and trainer, for adapters and whole models', async () => {
  const { data } = await runStudy(config, { services });
  const table = renderArmTable(data!);
  expect(table).toMatch(/adapted.*untrained/);
  expect(table).toMatch(/whole.*Full.*answer-only/);
  const evaluation = (student: string, arm: string) =>
    readRows<EvaluationRow>(join(config.run, 'evaluations', student, `${arm}.jsonl`));
  expect(evaluation('whole', 'untrained').map((row) => row.response)).toEqual(
    evaluation('adapted', 'untrained').map((row) => row.response),
  );
  // Trained weights are what answers: no two students write the same.
  const texts = ['untrained', 'raw', 'answer-only'].map((arm) =>
    JSON.stringify(evaluation('whole', arm).map((row) => row.response)),
  );
  expect(new Set(texts).size).toBe(3);
  expect(notes[0]).toMatch(/KV cache/);
  const manifest = JSON.parse(readFileSync(join(config.run, 'manifest.json'), 'utf8'));
  expect(manifest.machine).toMatchObject({ Threads: 2, 'Instruction set': expect.any(String) });
});

/** The tokens of one answer, of the model with an adapter or without. */
async function ask(adapter?: string): Promise<readonly number[]> {
  const model = await services.open(modelFolder('chat'), { adapter });
  const completions: TextCompletion[] = [];
  const request = { id: 'x', messages: [{ role: 'user' as const, content: 'Hello there' }], continuation: 'Well' };
  const sampling = { temperature: 1, seed: 3, maxTokens: 30, topP: undefined };
  for await (const completion of model.generate([{ ...request, sampling }], {
    signal: new AbortController().signal,
  })) {
    completions.push(completion);
  }
  expect(model.render(request.messages, 'Well')).toMatch(/Hello there[\s\S]*assistant[\s\S]*Well$/);
  return completions[0]!.tokens;
}

it('gives the base model again after an adapter', async () => {
  const adapter = join(config.run, 'students', 'adapted', 'raw', 'weights');
  const base = await ask();
  const adapted = await ask(adapter);
  expect(adapted).not.toEqual(base);
  expect(await ask()).toEqual(base);
  expect(await ask(adapter)).toEqual(adapted);
});

it('generates the same with replicas, of the base and of its adapters', async () => {
  const adapter = join(config.run, 'students', 'adapted', 'raw', 'weights');
  const alone = [await ask(), await ask(adapter)];
  const own = services;
  services = createEngineServices({ ...config, mesh: { dp: 2, tp: 1 } }, (line) => notes.push(line));
  try {
    expect([await ask(), await ask(adapter)]).toEqual(alone);
    expect(notes.at(-1)).toMatch(/^2 replicas/);
    expect(await services.machine()).toMatchObject({ Devices: 2 });
    const prompts = Array.from({ length: 5 }, (_, index) => [{ role: 'user' as const, content: `Question ${index}?` }]);
    const { prefill, step } = await services.measure(modelFolder('chat'), { prompts, behind: 20, batch: 8 });
    expect(Math.min(prefill, step.base + step.perSequence)).toBeGreaterThan(0);
  } finally {
    await services.close();
    services = own;
  }
});

const chatTemplate =
  '{% for message in messages %}[{{ message.role }}] {{ message.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}';

it.each<[string, Partial<TrainSettings>]>([
  ['that replaces embeddings', { lora: { rank: 2, modulesToSave: ['embed_tokens'] } }],
  ['with tokens of its own', { lora: { rank: 2 }, addedTokens: ['<plan>'] }],
  ['with a chat template of its own', { lora: { rank: 2 }, chatTemplate }],
])('gives the base model again after an adapter %s, and other adapters their base', async (name, changes) => {
  const plain = join(config.run, 'students', 'adapted', 'raw', 'weights');
  const output = join(folder, name);
  const data = join(config.run, 'students', 'adapted', 'raw', 'data.jsonl');
  const settings = { model: modelFolder('chat'), data, output, learningRate: 0.1, warmupRatio: 0, maxSteps: 2 };
  await train(parseTrainConfig({ ...settings, ...changes, tokenisedFolder: join(folder, 'tokenised'), threads: 1 }));
  const [base, adapted] = [await ask(), await ask(plain)];
  const replaced = await ask(output);
  expect(replaced).not.toEqual(base);
  const { render } = await services.open(modelFolder('chat'), { adapter: output });
  expect(render([{ role: 'user', content: 'Hi' }], '').startsWith('[user] Hi')).toBe(
    changes.chatTemplate !== undefined,
  );
  expect(await ask(plain)).toEqual(adapted);
  expect(await ask(output)).toEqual(replaced);
  expect(await ask()).toEqual(base);
});

it('measures how fast a model writes and a student trains, and leaves nothing behind', async () => {
  const before = readdirSync(tmpdir()).filter((name) => name.startsWith('measure-'));
  const prompts = Array.from({ length: 5 }, (_, index) => [{ role: 'user' as const, content: `Question ${index}?` }]);
  const { prefill, step, load } = await services.measure(modelFolder('chat'), { prompts, behind: 20, batch: 8 });
  expect(Math.min(prefill, load, step.base + step.perSequence)).toBeGreaterThan(0);
  const [student] = config.students;
  const rates = await services.measureTraining(student!.training, { prompts, target: 20, length: 50 });
  expect(rates.tokensPerSecond).toBeGreaterThan(1);
  expect(rates.setup).toBeGreaterThan(0);
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith('measure-'))).toEqual(before);
});

it('needs a tokenizer and a chat template', async () => {
  await expect(services.tokenizer(modelFolder('tied'))).rejects.toThrow(
    /to have a tokenizer; put tokenizer\.json into its folder/,
  );
  await expect(services.open(modelFolder('tied'))).rejects.toThrow(/to have a chat template/);
});

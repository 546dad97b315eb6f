import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseStudyConfig, type StudyConfig } from '../../src/pipeline/config.js';
import { createEngineServices } from '../../src/pipeline/engine_services.js';
import type { EvaluationRow } from '../../src/pipeline/evaluate.js';
import { runStudy } from '../../src/pipeline/run.js';
import type { Services, TextCompletion } from '../../src/pipeline/services.js';
import { renderArmTable } from '../../src/report/markdown.js';
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

it('gives the base model again after an adapter', async () => {
  const adapter = join(config.run, 'students', 'adapted', 'raw', 'weights');
  const ask = async (with_?: string) => {
    const model = await services.open(modelFolder('chat'), { adapter: with_ });
    const completions: TextCompletion[] = [];
    const request = { id: 'x', messages: [{ role: 'user' as const, content: 'Hello there' }], continuation: 'Well' };
    const sampling = { temperature: 1, seed: 3, maxTokens: 30, topP: undefined };
    for await (const completion of model.generate([{ ...request, sampling }], {
      signal: new AbortController().signal,
    })) {
      completions.push(completion);
    }
    expect(model.render(request.messages, 'Well')).toMatch(/Hello there[\s\S]*assistant\nWell$/);
    return completions[0]!.tokens;
  };
  const base = await ask();
  const adapted = await ask(adapter);
  expect(adapted).not.toEqual(base);
  expect(await ask()).toEqual(base);
  expect(await ask(adapter)).toEqual(adapted);
});

it('needs a tokenizer and a chat template', async () => {
  await expect(services.tokenizer(modelFolder('tied'))).rejects.toThrow(
    /to have a tokenizer; put tokenizer\.json into its folder/,
  );
  await expect(services.open(modelFolder('tied'))).rejects.toThrow(/to have a chat template/);
});

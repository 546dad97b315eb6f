// Whole runs with a researcher's objective, from the training file's key to the loss.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseTrainConfig, type TrainSettings } from '../../../src/training/config.js';
import { loadDataset } from '../../../src/training/dataset.js';
import type { TrainingDocument } from '../../../src/training/documents.js';
import { readMetrics } from '../../../src/training/metrics.js';
import { train } from '../../../src/training/train.js';
import { resolveModel } from '../../../src/weights/model_files.js';
import { expectClose, modelFolder } from '../../support/fixtures.js';
import { listOf } from '../student.js';

const example = 'examples/objectives/weighted.ts';
let folder: string;
/** The trained tokens of each row. */
let lengths: number[];
let documents: readonly TrainingDocument[];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'objectives-'));
  const plain = await write('plain', () => ({}));
  const model = await resolveModel(modelFolder('chat'));
  model.weights.close();
  const dataset = await loadDataset([plain], { model, maxTokens: 1000, overlong: 'error', folder });
  documents = listOf(dataset.documents);
  lengths = documents.map(({ trained }) => trained);
});
afterAll(() => rm(folder, { recursive: true }));

async function write(name: string, data: (index: number) => Record<string, unknown>): Promise<string> {
  const file = join(folder, `${name}.jsonl`);
  const rows = Array.from({ length: 8 }, (_, index) => {
    const messages = [
      { role: 'user', content: `What is ${index} plus ${index}?` },
      { role: 'assistant', content: `${'so '.repeat(index)}${2 * index}` },
    ];
    return JSON.stringify({ id: `q${index}`, messages, ...data(index) });
  });
  await writeFile(file, `${rows.join('\n')}\n`);
  return file;
}

let runs = 0;
async function losses(data: string, changes: Partial<TrainSettings>): Promise<number[]> {
  const output = join(folder, `run-${++runs}`);
  const shape = { sequenceLength: 150, epochs: 4, maxSteps: 6, microBatch: 1, gradientAccumulation: 2 };
  const settings = {
    model: modelFolder('chat'),
    data,
    output,
    ...shape,
    tokenisedFolder: folder,
    threads: 2,
    learningRate: 1e-2,
    lora: { rank: 4 },
  };
  await train(parseTrainConfig({ ...settings, ...changes }));
  return (await readMetrics(join(output, 'metrics.jsonl'))).map(({ loss }) => loss);
}

it('trains the example: equal weights are cross-entropy, others are not, and two ranks agree with one', async () => {
  const equal = await write('equal', (index) => ({ weights: new Array(lengths[index]!).fill(3) }));
  const late = await write('late', (index) => ({
    weights: Array.from({ length: lengths[index]! }, (_, nth) => nth / lengths[index]!),
  }));
  const crossEntropy = await losses(equal, {});
  expectClose(await losses(equal, { objective: example }), crossEntropy, 1e-5, 'equal weights');
  const alone = await losses(late, { objective: example });
  expect(Math.abs(alone[0]! - crossEntropy[0]!)).toBeGreaterThan(1e-2);
  expect(alone.at(-1)!).toBeLessThan(alone[0]!);
  expectClose(await losses(late, { objective: example, mesh: { dp: 2 } }), alone, 1e-5, 'two ranks');
});

it('is the same however a window is cut', async () => {
  const weighted = await write('weighted', (index) => ({ weight: index - 2 }));
  for (const objective of ['weighted', 'length-weighted', example]) {
    const data = objective === example ? join(folder, 'late.jsonl') : weighted;
    const cut = { objective, lora: { rank: 4, dropout: 0 }, sequenceLength: 60 };
    const narrow = await losses(data, { ...cut, microBatch: 1, gradientAccumulation: 4 });
    const wide = await losses(data, { ...cut, microBatch: 4, gradientAccumulation: 1 });
    expectClose(wide, narrow, 1e-5, objective);
  }
});

it.each(['forward-kl', 'reverse-kl'])('learns a stored teacher with %s, in bf16', async (objective) => {
  const rows = await write('teacher', (index) => ({
    teacher: [...documents[index]!.targets.filter((target) => target >= 0)].map((token) => ({
      token,
      top: [
        { token, logprob: -0.2 },
        { token: token === 5 ? 6 : 5, logprob: -2 },
        { token: token === 7 ? 8 : 7, logprob: -6 },
      ],
    })),
  }));
  const curve = await losses(rows, { objective, method: 'full', dtype: 'bf16', maxSteps: 12, epochs: 12 });
  expect(curve[0]!).toBeGreaterThan(0.1);
  expect(curve.at(-1)!).toBeLessThan(curve[0]! / 4);
});

it('names what is wrong: a row by file and line, an objective by its file', async () => {
  const plain = join(folder, 'plain.jsonl');
  await expect(losses(plain, { objective: example })).rejects.toThrow(
    /plain\.jsonl:1: Expected 'weights' to hold \d+ numbers/,
  );
  await expect(losses(plain, { objective: 'forward-kl' })).rejects.toThrow(
    /plain\.jsonl:1: Expected 'teacher' to be an array/,
  );
  for (const [name, body, message] of [
    ['throws', '{ throw new Error("no idea") }', /throws\.mjs: no idea/],
    ['async', 'Promise.resolve(1)', /async\.mjs: Expected the objective to return its loss, .* but received a promise/],
    ['vector', '({ tokenLogprobs }) => tokenLogprobs()', /vector\.mjs: .*f32\[\d+\].*; end with sum\(\)/],
    ['constant', '({ constant }) => constant([1])', /constant\.mjs: .*depends on no parameter/],
    [
      'nan',
      '({ perToken }) => perToken(() => NaN)',
      /nan\.mjs: Expected a finite number for trained token 0 of row 'q\d'/,
    ],
  ] as const) {
    const file = join(folder, `${name}.mjs`);
    await writeFile(file, `export default ${body.includes('=>') ? body : `() => ${body}`};`);
    await expect(losses(plain, { objective: file })).rejects.toThrow(message);
  }
});

// Added tokens: embeddings grow, start at the mean, are trained and saved, with LoRA and without, and come back.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/nn/load.js';
import { Device } from '../../src/tensor/device.js';
import { parseTrainConfig, type TrainSettings } from '../../src/training/config.js';
import { mergeAdapter } from '../../src/training/merge.js';
import { readValidation } from '../../src/training/metrics.js';
import { train } from '../../src/training/train.js';
import { expectClose, modelFolder } from '../support/fixtures.js';
import { readSafetensors } from '../support/safetensors.js';

const addedTokens = ['<plan>', { content: '</plan>', special: true }];
const embeddings = 'model.embed_tokens.weight';

describe('added tokens', () => {
  let folder: string;
  let data: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'added-'));
    data = join(folder, 'data.jsonl');
    const rows = Array.from({ length: 20 }, (_, index) => ({
      id: `q${index}`,
      messages: [
        { role: 'user', content: `What is ${index} plus ${index}?` },
        { role: 'assistant', content: `<plan>add</plan> ${2 * index}` },
      ],
    }));
    await writeFile(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  });
  afterAll(() => rm(folder, { recursive: true }));

  const run = (output: string, changes: Partial<TrainSettings> = {}) =>
    train(
      parseTrainConfig({
        ...{ model: modelFolder('chat'), data, output: join(folder, output), sequenceLength: 120, threads: 2 },
        ...{ gradientAccumulation: 2, validationSplit: 0.2, addedTokens, lora: { rank: 2 }, ...changes },
      }),
    );
  const json = async (...path: string[]) => JSON.parse(await readFile(join(folder, ...path), 'utf8'));
  const tensors = (...path: string[]) => readSafetensors(join(folder, ...path));

  it('grow a whole model by rows that start at the mean of the others', async () => {
    const width = 32;
    const before = readSafetensors(join(modelFolder('chat'), 'model.safetensors')).get(embeddings)!;
    const rows = before.shape[0]!;
    const mean = Float64Array.from({ length: width }, (_, column) => {
      let sum = 0;
      for (let row = 0; row < rows; ++row) sum += before.data[row * width + column]!;
      return sum / rows;
    });
    for (const dtype of ['f32', 'bf16'] as const) {
      // Updates of about 1e-12 change no f32 of this size.
      await run(`start-${dtype}`, { method: 'full', dtype, learningRate: 1e-12, maxSteps: 1 });
      const after = tensors(`start-${dtype}`, 'model.safetensors').get(embeddings)!;
      expect(after.shape).toEqual([rows + 2, width]);
      const tolerance = dtype === 'f32' ? 1e-6 : 2 ** -8;
      expectClose(after.data.subarray(0, rows * width), before.data, tolerance, 'old rows');
      for (const row of [rows, rows + 1])
        expectClose(after.data.subarray(row * width, (row + 1) * width), mean, tolerance, `row ${row}`);
    }
    expect(await json('start-f32', 'config.json')).toMatchObject({ vocab_size: rows + 2 });
    const device = Device.open('cpu', { threads: 1 });
    const { tokenizer, model } = await loadModel(join(folder, 'start-f32'), { device });
    expect(tokenizer!.encode('<plan>x</plan>').filter((id) => id >= rows)).toEqual([rows, rows + 1]);
    expect(model.config.vocabSize).toBe(rows + 2);
    await device.close();
  });

  it('are trained and saved with an adapter, which goes on and merges', async () => {
    for (const dtype of ['f32', 'bf16'] as const) {
      const first = await run(`adapter-${dtype}`, { dtype, learningRate: 1e-2, epochs: 3 });
      expect(await json(`adapter-${dtype}`, 'adapter_config.json')).toMatchObject({
        modules_to_save: ['embed_tokens', 'lm_head'],
        ensure_weight_tying: true,
      });
      const saved = tensors(`adapter-${dtype}`, 'adapter_model.safetensors');
      const [table, head] = [embeddings, 'lm_head.weight'].map((name) => saved.get(`base_model.model.${name}`)!);
      expect([...head!.data]).toEqual([...table!.data]);
      const base = readSafetensors(join(modelFolder('chat'), 'model.safetensors')).get(embeddings)!;
      expect(table!.shape).toEqual([base.shape[0]! + 2, base.shape[1]]);

      // Its own tokens are added again by themselves.
      const changes = { dtype, addedTokens: [], adapter: join(folder, `adapter-${dtype}`), maxSteps: 1 };
      await run(`further-${dtype}`, changes);
      const [start] = await readValidation(join(folder, `further-${dtype}`, 'metrics.jsonl'));
      expect(start!.validationLoss).toBe(first.validationLoss);
    }
    await mergeAdapter({
      ...{ model: modelFolder('chat'), adapter: join(folder, 'adapter-f32'), output: join(folder, 'merged') },
      threads: 1,
    });
    const merged = tensors('merged', 'model.safetensors').get(embeddings)!;
    const table = tensors('adapter-f32', 'adapter_model.safetensors').get(`base_model.model.${embeddings}`)!;
    expect([...merged.data]).toEqual([...table.data]);
    expect(await json('merged', 'config.json')).toMatchObject({ vocab_size: merged.shape[0] });
  });

  it('need their embeddings saved', () => {
    const settings = { model: 'm', data: 'd', output: 'o', addedTokens, lora: { modulesToSave: ['embed_tokens'] } };
    expect(() => parseTrainConfig(settings)).toThrow(
      /Expected 'lora.modulesToSave' to be embed_tokens and lm_head at least, with 'addedTokens', whose embeddings are new, but received/,
    );
  });
});

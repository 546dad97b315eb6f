// Whole runs with a model that several ranks hold together, in worker threads as the command line starts them.
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseTrainConfig, type TrainSettings } from '../../src/training/config.js';
import { readMetrics, readValidation, type StepMetrics } from '../../src/training/metrics.js';
import { type TrainOptions, train } from '../../src/training/train.js';
import { expectClose, modelFolder, relativeError } from '../support/fixtures.js';
import { readSafetensors } from '../support/safetensors.js';
import { conversationsFolder } from './conversations.js';

describe('a tensor-parallel run', () => {
  const { folder, data } = conversationsFolder('tensor-parallel');

  const run = (output: string, changes: Partial<TrainSettings>, options: TrainOptions = {}) => {
    const shape = { sequenceLength: 150, maxSteps: 10, epochs: 8, gradientAccumulation: 4, validateEvery: 4 };
    const settings = { threads: 2, validationSplit: 0.2, learningRate: 1e-3, warmupRatio: 0, optimizer: 'adamw' };
    const files = { data, output: join(folder, output), tokenisedFolder: join(folder, 'tokenised') };
    return train(
      parseTrainConfig({ model: modelFolder('chat'), ...files, ...shape, ...settings, ...changes }),
      options,
    );
  };
  const metrics = (output: string) => join(folder, output, 'metrics.jsonl');
  const losses = async (output: string) => (await readMetrics(metrics(output))).map(({ loss }) => loss);
  const validation = async (output: string) =>
    (await readValidation(metrics(output))).map(({ validationLoss }) => validationLoss);

  async function expectSame(output: string, other: string, file = 'model'): Promise<void> {
    expectClose(await losses(output), await losses(other), 1e-6, 'losses');
    expectClose(await validation(output), await validation(other), 1e-6, 'validation losses');
    const read = (folderName: string) => readSafetensors(join(folder, folderName, `${file}.safetensors`));
    const expected = read(other);
    const found = read(output);
    expect([...found.keys()]).toEqual([...expected.keys()]);
    for (const [name, { data: values, shape }] of found) {
      expect(shape).toEqual(expected.get(name)!.shape);
      // AdamW makes much of single gradients near zero; tensor_parallel.test.ts is stricter.
      expect(relativeError(values, expected.get(name)!.data), name).toBeLessThan(1e-5);
    }
  }

  it('ends with the weights of one rank, and goes on with another number of ranks', async () => {
    await run('alone', { method: 'full' });
    expect((await losses('alone')).length).toBe(10);
    await run('four', { method: 'full', mesh: { tp: 4 } });
    await expectSame('four', 'alone');
    // From parts of a model to shards of parts, to shards alone.
    const shapes = [
      { mesh: { dp: 2, tp: 2 } },
      { mesh: { dp: 2, tp: 2 }, fullyShard: true },
      { mesh: { dp: 2 }, fullyShard: true },
    ];
    for (const [index, shape] of shapes.slice(0, -1).entries()) {
      const controller = new AbortController();
      const onStep = ({ step }: StepMetrics) =>
        step === 3 + 3 * index && controller.abort(new Error('stopped by the test'));
      const stopped = run('all', { method: 'full', ...shape }, { signal: controller.signal, onStep });
      await expect(stopped).rejects.toThrow('stopped by the test');
    }
    await run('all', { method: 'full', ...shapes.at(-1) });
    await expectSame('all', 'alone');
    // And back: from files of shards to parts.
    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === 4 && controller.abort(new Error('stopped by the test'));
    const stopped = run('back', { method: 'full', ...shapes.at(-1) }, { signal: controller.signal, onStep });
    await expect(stopped).rejects.toThrow('stopped by the test');
    await run('back', { method: 'full', ...shapes[1] });
    await expectSame('back', 'alone');
  });

  it('saves adapters whole, with modules that were trained beside them', async () => {
    const lora = { rank: 4, dropout: 0.1, targetModules: ['q_proj', 'k_proj', 'o_proj', 'down_proj'] };
    const settings = { lora: { ...lora, modulesToSave: ['embed_tokens'] } };
    await run('adapter', settings);
    await run('adapter of two', { ...settings, mesh: { tp: 2 } });
    await expectSame('adapter of two', 'adapter', 'adapter_model');
    await run('adapter of four', { ...settings, mesh: { dp: 2, tp: 2 }, fullyShard: true });
    await expectSame('adapter of four', 'adapter', 'adapter_model');
  });
});

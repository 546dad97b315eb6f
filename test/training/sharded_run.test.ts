// Whole runs with a model that several ranks keep parts of, in worker threads as the command line starts them.
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseTrainConfig, type TrainSettings } from '../../src/training/config.js';
import { readMetrics, readValidation, type StepMetrics } from '../../src/training/metrics.js';
import { randomWord } from '../../src/training/philox.js';
import { type TrainOptions, train } from '../../src/training/train.js';
import { expectClose, modelFolder, relativeError } from '../support/fixtures.js';
import { readSafetensors } from '../support/safetensors.js';
import { conversationsFolder } from './conversations.js';

describe('a fully sharded run', () => {
  const { folder, data } = conversationsFolder('sharded');

  const run = (output: string, changes: Partial<TrainSettings>, options: TrainOptions = {}) => {
    const shape = { sequenceLength: 150, maxSteps: 10, epochs: 8, gradientAccumulation: 5, validateEvery: 4 };
    const settings = { threads: 2, validationSplit: 0.2, learningRate: 1e-3, warmupRatio: 0, optimizer: 'adamw' };
    const files = { data, output: join(folder, output), tokenisedFolder: join(folder, 'tokenised') };
    return train(
      parseTrainConfig({ model: modelFolder('chat'), ...files, ...shape, ...settings, ...changes }),
      options,
    );
  };
  const sharded = (dp: number) => ({ mesh: { dp }, fullyShard: true });
  const losses = async (output: string) =>
    (await readMetrics(join(folder, output, 'metrics.jsonl'))).map(({ loss }) => loss);
  const validation = async (output: string) =>
    (await readValidation(join(folder, output, 'metrics.jsonl'))).map(({ validationLoss }) => validationLoss);
  const weights = (output: string, file = 'model') => readSafetensors(join(folder, output, `${file}.safetensors`));
  /** Stops after the given step with a checkpoint. */
  const interrupt = async (output: string, changes: Partial<TrainSettings>, after: number) => {
    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === after - 1 && controller.abort(new Error('stopped by the test'));
    await expect(run(output, changes, { signal: controller.signal, onStep })).rejects.toThrow('stopped by the test');
  };

  async function expectSame(output: string, other: string, tolerance: number, file?: string): Promise<void> {
    expectClose(await losses(output), await losses(other), tolerance, 'losses');
    expectClose(await validation(output), await validation(other), tolerance, 'validation losses');
    const expected = weights(other, file);
    expect([...weights(output, file).keys()]).toEqual([...expected.keys()]);
    for (const [name, { data: values }] of weights(output, file))
      expect(relativeError(values, expected.get(name)!.data), name).toBeLessThanOrEqual(tolerance);
  }

  it('goes on exactly, and on another number of ranks with the same losses', async () => {
    await run('alone', { method: 'full' });
    expect((await losses('alone')).length).toBe(10);
    await run('four', { method: 'full', ...sharded(4) });
    await expectSame('four', 'alone', 1e-6);
    for (const [from, to] of [
      [4, 4],
      [2, 4],
      [4, 1],
      [1, 2],
    ] as const) {
      const on = (dp: number) => ({ method: 'full' as const, ...(dp > 1 ? sharded(dp) : {}) });
      const output = `${from}-${to}`;
      await interrupt(output, on(from), 5);
      const checkpoints = join(folder, output, 'checkpoints');
      expect(await readdir(checkpoints)).toEqual(['step-00000005']);
      const files = (await readdir(join(checkpoints, 'step-00000005'))).filter((name) => name.startsWith('state'));
      expect(files).toHaveLength(from);
      await run(output, on(to));
      await expectSame(output, from === to ? 'four' : 'alone', from === to ? 0 : 1e-6);
    }
  });

  it('trains adapters and whole modules of a frozen model, and goes on from them', async () => {
    const lora = {
      rank: 4,
      dropout: 0.1,
      modulesToSave: ['embed_tokens', 'norm'],
      targetModules: ['q_proj', 'down_proj'],
    };
    for (const dtype of ['f32', 'bf16'] as const) {
      // One micro-batch a rank and no clipping: nothing is summed in another order.
      const changes = { lora, dtype, validationSplit: 0, gradientAccumulation: 4, maxGradNorm: 0 };
      await run(`lora-${dtype}`, { ...changes, mesh: { dp: 4 } });
      await run(`lora-${dtype}-4`, { ...changes, ...sharded(4) });
      await expectSame(`lora-${dtype}-4`, `lora-${dtype}`, 0, 'adapter_model');
      const more = { ...changes, gradientAccumulation: 2, lora: {}, maxSteps: 3 };
      const again = { ...more, adapter: join(folder, `lora-${dtype}`) };
      await run(`again-${dtype}`, { ...again, mesh: { dp: 2 } });
      await run(`again-${dtype}-2`, { ...again, ...sharded(2) });
      await expectSame(`again-${dtype}-2`, `again-${dtype}`, 0, 'adapter_model');
    }
  });

  it('starts from the exact values of the files, and keeps masters of bf16 weights', async () => {
    const changes = { method: 'full', dtype: 'bf16', optimizer: 'adamw_8bit' } as const;
    await run('bf16', changes);
    await run('bf16-4', { ...changes, ...sharded(4) });
    await expectSame('bf16-4', 'bf16', 2e-3);
    await interrupt('bf16-again', { ...changes, ...sharded(4) }, 4);
    await run('bf16-again', { ...changes, ...sharded(4) });
    await expectSame('bf16-again', 'bf16-4', 0);
  });

  /**
   * Cross-entropy, but it ends the thread of rank 1 where DEADLY says, which is no part of the run's identity: `pass N`, in its Nth
   * micro-batch, or `write N`, where it opens its part of the Nth checkpoint.
   */
  const deadly = [
    "import fs from 'node:fs/promises';",
    "import { syncBuiltinESMExports } from 'node:module';",
    "import { workerData } from 'node:worker_threads';",
    "const [where, number] = workerData?.rank === 1 ? (process.env.DEADLY ?? '').split(' ') : [];",
    'const counts = { pass: 0, write: 0 };',
    'const at = (place) => where === place && ++counts[place] === Number(number) && process.exit(9);',
    'const { open } = fs;',
    "fs.open = (path, flags) => (flags === 'w' && /state-.*safetensors/.test(path) && at('write'), open(path, flags));",
    'syncBuiltinESMExports();',
    'export default ({ tokenLogprobs, window }, { scale, sum }) => {',
    "  at('pass');",
    '  return scale(sum(tokenLogprobs()), -1 / window.trained);',
    '};',
  ];

  it('ends everywhere when a rank dies, wherever it is, and goes on from the last checkpoint', async () => {
    const objective = join(folder, 'deadly.mjs');
    await writeFile(objective, deadly.join('\n'));
    const changes = { method: 'full', objective, validationSplit: 0, checkpointEvery: 2, ...sharded(3) } as const;
    await run('undisturbed', changes);
    // Five micro-batches a step are two passes of each rank, so the third step begins with the fifth. A seed says which it is.
    const passes = [5, 12].map((first) => `pass ${first + (randomWord(1, 2, first, 0) % 3)}`);
    for (const place of [...passes, 'write 3']) {
      const output = `dies-${place.replace(' ', '-')}`;
      process.env.DEADLY = place;
      try {
        await expect(run(output, changes)).rejects.toThrow(
          /^Rank 1 ended early with code 9; the same command goes on from the last checkpoint$/,
        );
      } finally {
        delete process.env.DEADLY;
      }
      const left = await readdir(join(folder, output, 'checkpoints'));
      expect(left, place).toEqual([
        expect.stringMatching(place === 'write 3' ? /^step-00000004$/ : /^step-0000000\d$/),
      ]);
      await run(output, changes);
      await expectSame(output, 'undisturbed', 0);
    }
  });
});

import { existsSync } from 'node:fs';
import { cp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { loadModel } from '../../src/nn/load.js';
import { Device } from '../../src/tensor/device.js';
import { loadAdapter } from '../../src/training/adapter_files.js';
import { parseTrainConfig, type TrainSettings } from '../../src/training/config.js';
import {
  eventFile,
  readMetrics,
  readValidation,
  type SkippedStep,
  type StepMetrics,
} from '../../src/training/metrics.js';
import { type TrainOptions, type TrainStart, train } from '../../src/training/train.js';
import { expectClose, modelFolder } from '../support/fixtures.js';
import { readSafetensors } from '../support/safetensors.js';
import { conversationsFolder } from './conversations.js';

describe('train', () => {
  const { folder, data } = conversationsFolder('train');

  const settings = (output: string, changes: Partial<TrainSettings> = {}): TrainSettings => ({
    ...{ model: modelFolder('chat'), data, output: join(folder, output), sequenceLength: 150, epochs: 4, threads: 2 },
    tokenisedFolder: join(folder, 'tokenised'),
    ...{
      gradientAccumulation: 3,
      learningRate: 1e-2,
      activationCheckpointing: 'none',
      lora: { rank: 4, dropout: 0.2 },
    },
    ...changes,
  });
  const run = (output: string, changes: Partial<TrainSettings> = {}, options: TrainOptions = {}) =>
    train(parseTrainConfig(settings(output, changes)), options);
  const weightsOf = (output: string, method: 'lora' | 'full') =>
    readFile(join(folder, output, method === 'lora' ? 'adapter_model.safetensors' : 'model.safetensors'));
  const curve = async (output: string) =>
    (await readMetrics(join(folder, output, 'metrics.jsonl'))).map(
      ({ tokensPerSecond: _, modelFlopUtilisation: _m, ...rest }) => rest,
    );

  describe.each([
    ['lora', 'adamw_8bit', 'f32'],
    ['full', 'adamw_8bit', 'bf16'],
    ['full', 'adamw', 'f32'],
    ['full', 'adamw_8bit', 'bf16', 'stochasticRounding'],
  ] as const)('%s, %s, %s %s', (method, optimizer, dtype, rounding?: string) => {
    const name = `${method}-${optimizer}-${dtype}-${rounding}`;
    const changes = { method, optimizer, dtype, stochasticRounding: rounding !== undefined };
    let starts: TrainStart[];
    let seen: [StepMetrics, number][];

    it('writes weights, metrics and a summary', async () => {
      starts = [];
      seen = [];
      const result = await run(name, changes, {
        onStart: (start) => starts.push(start),
        onStep: (metrics, totalSteps) => seen.push([metrics, totalSteps]),
      });
      const files = await readdir(join(folder, name));
      const weights =
        method === 'lora' ? ['adapter_config.json', 'adapter_model.safetensors'] : ['config.json', 'model.safetensors'];
      const tokenizer = ['chat_template.jinja', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'];
      expect(files.sort()).toEqual([...weights, ...tokenizer, eventFile, 'metrics.jsonl', 'training.json'].sort());
      const rows = await readMetrics(join(folder, name, 'metrics.jsonl'));
      expect(rows.map(({ step }) => step)).toEqual(Array.from({ length: result.steps }, (_, index) => index + 1));
      expect(rows.length).toBeGreaterThan(8);
      expect(rows[0]!.learningRate).toBe(0);
      expect(rows.at(-1)!.loss).toBeLessThan(rows[0]!.loss - 0.5);
      expect(rows.every((row) => row.gradNorm > 0 && row.tokensPerSecond > 0)).toBe(true);
      expect(rows.every(({ modelFlopUtilisation: used = 0 }) => used > 0 && used < 1)).toBe(true);
      expect(result).toMatchObject({ output: join(folder, name), finalLoss: rows.at(-1)!.loss });
      expect(result.trainedTokens).toBe(rows.reduce((sum, row) => sum + row.trainedTokens, 0));
      expect(seen.map(([metrics]) => metrics)).toEqual(rows);
      expect(seen[0]![1]).toBe(result.steps);
      expect(starts).toMatchObject([{ totalSteps: result.steps, resumedStep: 0, dataset: { rows: 24 } }]);
    });

    it('goes on from an interruption with the same bits', async () => {
      const controller = new AbortController();
      const interrupted = run(`${name}-again`, changes, {
        signal: controller.signal,
        onStep: ({ step }) => step === 4 && controller.abort(new Error('stopped by the test')),
      });
      await expect(interrupted).rejects.toThrow('stopped by the test');
      expect(await readdir(join(folder, `${name}-again`, 'checkpoints'))).toEqual(['step-00000005']);
      expect(existsSync(join(folder, `${name}-again`, 'training.json'))).toBe(false);

      const resumed: TrainStart[] = [];
      await run(
        `${name}-again`,
        { ...changes, threads: 1, activationCheckpointing: 'layer' },
        { onStart: (start) => resumed.push(start) },
      );
      expect(resumed).toMatchObject([{ resumedStep: 5 }]);
      expect(await curve(`${name}-again`)).toEqual(await curve(name));
      expect((await weightsOf(`${name}-again`, method)).equals(await weightsOf(name, method))).toBe(true);
      expect(existsSync(join(folder, `${name}-again`, 'checkpoints'))).toBe(false);
    });

    it('does not repeat a finished run, unless told to', async () => {
      let steps = 0;
      const before = await run(name, changes, { onStep: () => ++steps });
      expect(steps).toBe(0);
      expect(before.finalLoss).toBe((await curve(name)).at(-1)!.loss);
      await run(name, { ...changes, resume: false, maxSteps: 2 }, { onStep: () => ++steps });
      expect(steps).toBe(2);
    });
  });

  it('starts bf16 training from the weights as the file has them', async () => {
    const controller = new AbortController();
    const onStep = () => controller.abort(new Error('stopped by the test'));
    const changes = { method: 'full', dtype: 'bf16', maxSteps: 10, checkpointEvery: 1, keepLast: 9 } as const;
    await expect(run('masters', changes, { signal: controller.signal, onStep })).rejects.toThrow('stopped by the test');
    // The first update has rate 0, so the state after it is that of the start.
    const first = join(folder, 'masters', 'checkpoints', 'step-00000001', 'state.safetensors');
    const state = readSafetensors(first);
    for (const [name, { data }] of readSafetensors(join(modelFolder('chat'), 'model.safetensors')))
      expectClose(state.get(`${name}.master`)!.data, data, 0, name);
  });

  it('writes a model that loads again and an adapter that fits its base', async () => {
    await run('reload-full', { method: 'full', maxSteps: 3 });
    await run('reload-lora', { maxSteps: 3 });
    const device = Device.open('cpu');
    const { model, tokenizer, chatTemplate } = await loadModel(join(folder, 'reload-full'), { device });
    expect(tokenizer).not.toBeNull();
    expect(chatTemplate).not.toBeNull();
    const stored = readSafetensors(join(folder, 'reload-full', 'model.safetensors'));
    expect([...stored.keys()].sort()).toEqual([...model.weights.keys()].sort());
    const base = await loadModel(modelFolder('chat'), { device });
    await loadAdapter(join(folder, 'reload-lora'), base.model);
    expect([...base.model.linears.values()].every(({ adapter }) => adapter !== null)).toBe(true);
    await device.close();
  });

  it('validates on rows that never train, and goes on from an interruption with the same losses', async () => {
    const changes = { validationSplit: 0.25, validateEvery: 2, maxSteps: 7, mesh: { dp: 2 } };
    const starts: TrainStart[] = [];
    const result = await run('validated', changes, { onStart: (start) => starts.push(start) });
    const losses = await readValidation(join(folder, 'validated', 'metrics.jsonl'));
    expect(losses.map(({ step }) => step)).toEqual([0, 2, 4, 6, 7]);
    expect(losses.at(-1)!.validationLoss).toBeLessThan(losses[0]!.validationLoss - 0.3);
    expect(result.validationLoss).toBe(losses.at(-1)!.validationLoss);
    expect(starts).toMatchObject([{ validationRows: 6, dataset: { rows: 24 } }]);

    const controller = new AbortController();
    const signal = controller.signal;
    const onStep = ({ step }: StepMetrics) => step === 3 && controller.abort(new Error('stopped by the test'));
    await expect(run('validated-again', changes, { signal, onStep })).rejects.toThrow('stopped by the test');
    await run('validated-again', changes);
    expect(await readValidation(join(folder, 'validated-again', 'metrics.jsonl'))).toEqual(losses);

    const sparser = await run('validated-sparsely', { ...changes, validateEvery: 0 });
    expect(sparser.validationLoss).toBe(result.validationLoss);
    const weights = await weightsOf('validated', 'lora');
    expect((await weightsOf('validated-sparsely', 'lora')).equals(weights)).toBe(true);
    const unsplit = await run('unvalidated', { ...changes, validationSplit: 0 });
    expect(unsplit.validationLoss).toBeNull();
    expect((await weightsOf('unvalidated', 'lora')).equals(weights)).toBe(false);
  });

  it('goes on training from an adapter, with its rank and modules', async () => {
    const targetModules = ['q_proj', 'mlp.up_proj'];
    await run('first', { lora: { rank: 3, alpha: 12, rsLora: true, targetModules, dropout: 0 } });
    const changes = { adapter: join(folder, 'first'), maxSteps: 4, learningRate: 1e-4 };
    const second = await run('second', changes);
    const [start] = await readValidation(join(folder, 'second', 'metrics.jsonl'));
    const first = await readValidation(join(folder, 'first', 'metrics.jsonl'));
    expect(start!.validationLoss).toBe(first.at(-1)!.validationLoss);
    const config = JSON.parse(await readFile(join(folder, 'second', 'adapter_config.json'), 'utf8'));
    expect(config).toMatchObject({ r: 3, lora_alpha: 12, use_rslora: true, target_modules: targetModules });
    const keys = (name: string) => [...readSafetensors(join(folder, name, 'adapter_model.safetensors')).keys()].sort();
    expect(keys('second')).toEqual(keys('first'));

    const controller = new AbortController();
    const onStep = ({ step }: StepMetrics) => step === 1 && controller.abort(new Error('stopped by the test'));
    const interrupted = run('second-again', changes, { signal: controller.signal, onStep });
    await expect(interrupted).rejects.toThrow('stopped by the test');
    expect((await run('second-again', changes)).finalLoss).toBe(second.finalLoss);
    expect((await weightsOf('second-again', 'lora')).equals(await weightsOf('second', 'lora'))).toBe(true);

    await expect(run('first', changes)).rejects.toThrow(/Expected an 'output' other than the folder of 'adapter'/);
    await expect(run('second', { ...changes, adapter: data })).rejects.toThrow(
      /Expected the JSON file of a PEFT adapter/,
    );
  });

  it('trains the same on two ranks in threads of their own', async () => {
    const alone = await run('one-rank', { maxSteps: 6 });
    const together = await run('two-ranks', { maxSteps: 6, mesh: { dp: 2 } });
    expect(together.steps).toBe(alone.steps);
    const losses = async (name: string) => (await curve(name)).map(({ loss }) => loss);
    expectClose(await losses('two-ranks'), await losses('one-rank'), 1e-6, 'losses');
  });

  it('ends all ranks when one fails', async () => {
    const broken = join(folder, 'broken-model');
    await cp(modelFolder('chat'), broken, { recursive: true });
    const failing = run(
      'rank-fails',
      { model: broken, mesh: { dp: 2 } },
      {
        onStart: () => {
          throw new Error('rank 0 failed');
        },
      },
    );
    await expect(failing).rejects.toThrow('rank 0 failed');
  });

  it('saves every so many steps', async () => {
    const controller = new AbortController();
    const seen = new Set<string>();
    const running = run(
      'every',
      { checkpointEvery: 2, keepLast: 2, maxSteps: 7 },
      {
        signal: controller.signal,
        onStep: async ({ step }) => {
          for (const name of await readdir(join(folder, 'every', 'checkpoints')).catch(() => [])) seen.add(name);
          if (step === 7) seen.add('end');
        },
      },
    );
    await running;
    expect([...seen]).toEqual(expect.arrayContaining(['step-00000002', 'step-00000004', 'end']));
  });

  it('keeps the last good state when the loss becomes infinite', async () => {
    const failing = run('diverged', {
      method: 'full',
      learningRate: 1e30,
      maxGradNorm: 0,
      warmupRatio: 0.2,
      maxSteps: 10,
    });
    await expect(failing).rejects.toThrow(
      /^(Loss|Gradient norm) is .* at step \d+; lower 'learningRate'.*; the state after step \d+ is kept in .*checkpoints/,
    );
    expect(existsSync(join(folder, 'diverged', 'model.safetensors'))).toBe(false);
  });

  /** Plain cross-entropy, but for what `code` does with (rows, isMainThread) before; it gives the factor of the loss. */
  async function objectiveFile(name: string, code: string): Promise<string> {
    const file = join(folder, name);
    const lines = [
      "import { isMainThread } from 'node:worker_threads';",
      `const before = (rows, isMainThread) => { ${code} };`,
      'export default ({ tokenLogprobs, window, rows }, { scale, sum }) =>',
      '  scale(sum(tokenLogprobs()), before(rows, isMainThread) / -window.trained);',
    ];
    await writeFile(file, lines.join('\n'));
    return file;
  }

  it('skips the update of a step that is not finite when asked to, on every rank, and not ten in a row', async () => {
    const objective = await objectiveFile('nan.mjs', "return rows.some(({ id }) => id === 'q7') ? NaN : 1;");
    const changes = { objective, validationSplit: 0, mesh: { dp: 2 } };
    await expect(run('stopped', changes)).rejects.toThrow(/^Loss is NaN at step \d+; lower 'learningRate'/);
    const skipped: SkippedStep[] = [];
    const result = await run('skipped', { ...changes, nonFinite: 'skip' }, { onSkip: (step) => skipped.push(step) });
    // The row comes once in each of the four epochs.
    expect(skipped).toHaveLength(4);
    const steps = await readMetrics(join(folder, 'skipped', 'metrics.jsonl'));
    expect(steps.length).toBe(result.steps - 4);
    expect(steps.every(({ step }) => skipped.every((each) => each.step !== step))).toBe(true);
    expect(Number.isFinite(result.finalLoss)).toBe(true);
    const always = await objectiveFile('always.mjs', 'return NaN;');
    const hopeless = run('hopeless', { ...changes, validationSplit: 0, objective: always, nonFinite: 'skip' });
    await expect(hopeless).rejects.toThrow(
      /^Loss is NaN at step 10; .*; the state after step 9 is kept in .*checkpoints/,
    );
  });

  it('keeps the checkpoint before the one of a step that is not finite: its weights may be at fault', async () => {
    const code = 'globalThis.microBatches = (globalThis.microBatches ?? 0) + 1; return microBatches === 5 ? NaN : 1;';
    const objective = await objectiveFile('fifth.mjs', code);
    const changes = { objective, validationSplit: 0, gradientAccumulation: 1, checkpointEvery: 3, keepLast: 1 };
    await expect(run('not-finite', changes)).rejects.toThrow(
      /^Loss is NaN at step 5; .* the state after step 4 is kept/,
    );
    expect((await readdir(join(folder, 'not-finite', 'checkpoints'))).sort()).toEqual([
      'step-00000003',
      'step-00000004',
    ]);
  });

  it('keeps what it has learnt when the validation loss is not finite', async () => {
    // The first rows it sees are the held-out ones, before the first step; the second time they come it fails.
    const code =
      'globalThis.heldOut ??= rows.map(({ id }) => id).join(); globalThis.validations ??= 0; ' +
      'return rows.map(({ id }) => id).join() === heldOut && ++validations === 2 ? NaN : 1;';
    const objective = await objectiveFile('held_out.mjs', code);
    const changes = { objective, validationSplit: 0.2, validateEvery: 2, checkpointEvery: 0 };
    await expect(run('validation', changes)).rejects.toThrow(/validation/i);
    expect(await readdir(join(folder, 'validation', 'checkpoints'))).toEqual(['step-00000002']);
  });

  it('says which rank died', async () => {
    const objective = await objectiveFile('dies.mjs', 'if (!isMainThread) process.exit(7); return 1;');
    await expect(run('died', { objective, validationSplit: 0, mesh: { dp: 2 } })).rejects.toThrow(
      /^Rank 1 ended early with code 7; the same command goes on from the last checkpoint$/,
    );
  });

  it('refuses a run that does not fit, before anything is loaded', async () => {
    const memory = vi.spyOn(process, 'availableMemory').mockReturnValue(1e5);
    try {
      await expect(run('large')).rejects.toThrow(/^Expected the run to fit into the 1 MB of free memory but it needs/);
      expect(existsSync(join(folder, 'large'))).toBe(false);
    } finally {
      memory.mockRestore();
    }
  });

  it('refuses a checkpoint of another run, and starts over when told to', async () => {
    const stop = async (changes: Partial<TrainSettings>) => {
      const controller = new AbortController();
      await expect(
        run('other', changes, { signal: controller.signal, onStep: () => controller.abort(new Error('stop')) }),
      ).rejects.toThrow('stop');
    };
    await stop({});
    await expect(run('other', { learningRate: 1e-3 })).rejects.toThrow(
      /step-00000002: Expected a checkpoint of this run but it has other settings, model or data; choose another 'output'/,
    );
    await run('other', { learningRate: 1e-3, resume: false, maxSteps: 2 });
  });

  it.each([
    [
      'a model without a tokenizer',
      { model: modelFolder('tied') },
      /Expected a model with tokenizer and chat template but there is no tokenizer.json/,
    ],
    ['an unknown model', { model: 'smollm2-135m-instrukt' }, /did you mean 'smollm2-135m-instruct'/],
    ['a missing data file', { data: 'absent.jsonl' }, /absent\.jsonl/],
    [
      'only over-long rows',
      { sequenceLength: 5 },
      /received nothing to train: 24 of 24 rows dropped as longer than 5 tokens/,
    ],
    ['an unknown target', { lora: { rank: 4, targetModules: ['qkv'] } }, /lora\.targetModules/],
    ['a rank that is too large', { lora: { rank: 999 } }, /'lora\.rank' to be at most/],
  ])('refuses %s in one line', async (_, changes, message) => {
    let received: unknown;
    await run('bad', changes as Partial<TrainSettings>).catch((error: unknown) => {
      received = error;
    });
    expect((received as Error).message).toMatch(message);
    expect((received as Error).message).not.toContain('\n');
    expect(existsSync(join(folder, 'bad', 'training.json'))).toBe(false);
  });
});

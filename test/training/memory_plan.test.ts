import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { modelFamily } from '../../models/registry.js';
import { Communicator } from '../../src/distributed/communicator.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { parseTrainConfig } from '../../src/training/config.js';
import { documentsInMemory } from '../../src/training/documents.js';
import { GradientReduction } from '../../src/training/gradient_exchange.js';
import { expectMemory, planMemory } from '../../src/training/memory_plan.js';
import { loadObjective } from '../../src/training/objectives/load.js';
import { AdamW } from '../../src/training/optimizer.js';
import { TrainingPlan } from '../../src/training/plan.js';
import { createSchedule } from '../../src/training/schedule.js';
import { addGradients, Trainer } from '../../src/training/trainer.js';
import { withRanks } from '../distributed/ranks.js';
import { type GoldenModel, modelFolder } from '../support/fixtures.js';
import { openStudent, randomDocuments, runSteps } from './student.js';

const documents = randomDocuments(200, 100);
const sourceOf = async (name: GoldenModel) =>
  JSON.parse(await readFile(join(modelFolder(name), 'config.json'), 'utf8'));
const source = await sourceOf('tied');
const settings = (changes: object) =>
  parseTrainConfig({ model: 'm', data: 'd', output: 'o', lora: { rank: 4 }, ...changes });

describe('planMemory', () => {
  it.each([
    ['lora', 'f32', 'adamw', 'none'],
    ['lora', 'bf16', 'adamw_8bit', 'none'],
    ['lora', 'f32', 'adamw', 'layer'],
    ['full', 'f32', 'adamw', 'none'],
    ['full', 'bf16', 'adamw', 'none'],
    ['full', 'bf16', 'adamw_8bit', 'layer'],
    ['full', 'f32', 'adamw_8bit', 'layer'],
    ['full', 'f32', 'adamw', 'selective'],
    ['full', 'bf16', 'adamw', 'selective'],
    ['lora', 'f32', 'adamw', 'selective'],
    ['lora', 'bf16', 'adamw_8bit', 'selective'],
    ['lora', 'f32', 'adamw', 'none', 'fp8_block'],
    ['lora', 'f32', 'adamw', 'none', 'mxfp4'],
  ] as const)(
    'is what %s in %s with %s holds, checkpointing %s (%s)',
    async (method, dtype, optimizer, checkpointing, name: GoldenModel = 'tied') => {
      const device = Device.open('cpu', { threads: 1 });
      const { model, parameters } = await openStudent(device, name, method, { dtype, dropout: 0.05 });
      const adamw = new AdamW(parameters, {
        bits: optimizer === 'adamw' ? 32 : 8,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weightDecay: 0,
      });
      const stored = documentsInMemory(documents);
      const training = await TrainingPlan.create(stored, {
        ...{ sequenceLength: 1000, seed: 0, epochs: 1, maxSteps: 1, microBatch: 1, gradientAccumulation: 1 },
      });
      const { window } = (await training.stepsAfter(0).next()).value!;
      const schedule = createSchedule('constant', 1, 0);
      const trainer = new Trainer({
        ...{
          model,
          parameters,
          optimizer: adamw,
          schedule,
          learningRate: 1e-3,
          maxGradNorm: 1,
          exchange: null,
          objective: await loadObjective('cross-entropy'),
        },
        activationCheckpointing: checkpointing,
      });
      await device.synchronize();
      const before = device.statistics().liveBytes;
      await trainer.step(1, window, stored, 0);
      const { peakBytes } = device.statistics();
      const plan = planMemory(
        await sourceOf(name),
        settings({ method, dtype, optimizer, activationCheckpointing: checkpointing }),
        window.tokens,
      );
      const { activations, total } = plan;
      // Memory comes in whole blocks, which small quantised weights do not fill.
      expect(Math.abs(before / (total - activations) - 1)).toBeLessThan(name === 'tied' ? 0.01 : 0.03);
      expect((peakBytes - before) / activations).toBeGreaterThan(0.9);
      expect((peakBytes - before) / activations).toBeLessThan(1.07);
      await device.close();
    },
  );

  // Heads and units that divide, a head that several ranks hold, one or more shards of each part.
  it.each([
    ['full', 'tied', 'adamw', { dp: 1, tp: 2 }],
    ['full', 'tied', 'adamw_8bit', { dp: 1, tp: 4 }],
    ['full', 'linear', 'adamw', { dp: 1, tp: 4 }],
    ['lora', 'tied', 'adamw', { dp: 1, tp: 2 }],
    ['full', 'tied', 'adamw_8bit', { dp: 2, tp: 2 }],
  ] as const)('is what the ranks hold that have parts of a model: %s of %s with %s on %o', async (...row) => {
    const [method, name, optimizer, mesh] = row;
    const tokens = documents.reduce((sum, { tokens }) => sum + tokens.length, 0);
    const plan = planMemory(await sourceOf(name), settings({ method, optimizer, mesh, dtype: 'f32' }), tokens);
    const held: number[] = [];
    const peak: number[] = [];
    await withRanks(mesh.dp * mesh.tp, (ranks) =>
      Promise.all(
        ranks.map(async ({ device, rank }) => {
          const join = (kind: string, place: number, size: number) =>
            size > 1
              ? new Communicator(device, `memory-${row.join()}-${mesh.dp}-${mesh.tp}-${kind}`, place, size)
              : null;
          const group = join(`tp${Math.floor(rank / mesh.tp)}`, rank % mesh.tp, mesh.tp);
          const replicas = join(`dp${rank % mesh.tp}`, Math.floor(rank / mesh.tp), mesh.dp);
          const student = await openStudent(device, name, method, { dropout: 0.05, group });
          const { model, parameters } = student;
          const exchange = replicas && new GradientReduction(model, parameters, replicas);
          const shape = { sequenceLength: tokens, gradientAccumulation: mesh.dp, epochs: 1 };
          const bits = optimizer === 'adamw' ? 32 : 8;
          let before = 0;
          const afterStep = async () => {
            await device.synchronize();
            before ||= device.statistics().liveBytes;
          };
          // A pack for each rank beside others.
          const all = Array.from({ length: mesh.dp }, () => documents).flat();
          await runSteps(student, all, { ...shape, bits }, { exchange }, afterStep);
          held[rank] = before;
          peak[rank] = device.statistics().peakBytes;
          model.dispose();
        }),
      ),
    );
    const sum = (values: readonly number[]) => values.reduce((a, b) => a + b);
    const { activations, total } = plan;
    // All ranks are taken to have as much as the one with the most rows of the vocabulary.
    expect(Math.abs(sum(held) / (total - activations) - 1)).toBeLessThan(name === 'tied' ? 0.03 : 0.06);
    expect((sum(peak) - sum(held)) / activations).toBeGreaterThan(0.8);
    expect((sum(peak) - sum(held)) / activations).toBeLessThan(1.25);
  });

  it('counts what an objective says it holds of each token, where that is more than a layer at work', () => {
    const plan = (bytes: number) => planMemory(source, settings({}), 100, { bytesPerToken: () => bytes });
    const [nothing, little, much, more] = [0, 4, 1e5, 2e5].map((bytes) => plan(bytes).activations);
    expect(little).toBe(nothing);
    expect(more! - much!).toBe(1e7);
  });

  it('counts the scratch memory of GPUs', async () => {
    const device = Device.open('cuda-emulated', { threads: 1 });
    const { model, parameters } = await openStudent(device, 'tied', 'lora', { dtype: 'bf16' });
    for (const parameter of parameters.values()) parameter.grad = Tensor.zeros(device, parameter.shape);
    const [document] = randomDocuments(1, 30);
    const objective = await loadObjective('cross-entropy');
    const window = { trained: document!.trained, rows: [document!] };
    using _loss = addGradients(model, [document!], { objective, window, number: 0, activationCheckpointing: 'none' });
    await device.synchronize();
    const { scratchBytes } = device.statistics();
    const plan = (changes: object) => planMemory(source, settings(changes), document!.tokens.length).scratch;
    const planned = plan({ device: 'cuda', dtype: 'bf16' });
    expect(Math.abs(scratchBytes / planned - 1)).toBeLessThan(0.01);
    expect(plan({ device: 'cuda', mesh: { dp: 2 } })).toBe(2 * planned);
    expect(plan({})).toBe(0);
    await device.close();
  });

  it('counts modules that are trained whole beside adapters', () => {
    const embeddings = 131 * 64;
    for (const [dtype, masters] of [
      ['f32', 0],
      ['bf16', 4],
    ] as const) {
      const plan = (modulesToSave: string[]) =>
        planMemory(source, settings({ dtype, lora: { rank: 4, modulesToSave } }), 100);
      const [without, tied] = [plan([]), plan(['embed_tokens', 'lm_head'])];
      expect(tied.gradients - without.gradients).toBe(4 * embeddings);
      expect(tied.optimizer - without.optimizer).toBe((8 + masters) * embeddings);
      expect(tied.activations - without.activations).toBe(4 * embeddings);
      expect(tied.weights).toBe(without.weights);
    }
  });

  it('grows with ranks and tokens', () => {
    const one = planMemory(source, settings({}), 100);
    const two = planMemory(source, settings({ mesh: { dp: 2 } }), 100);
    expect(two.total).toBe(2 * one.total);
    expect(planMemory(source, settings({}), 200).activations).toBe(2 * one.activations);
  });

  it('has every weight, gradient and moment once where ranks keep parts, and two layers on each', () => {
    const plan = (changes: object) =>
      planMemory(source, settings({ method: 'full', mesh: { dp: 4 }, ...changes }), 100);
    const [copies, parts] = [plan({}), plan({ fullyShard: true })];
    expect(parts.optimizer).toBe(copies.optimizer / 4);
    expect(parts.activations).toBe(copies.activations);
    const { weights } = modelFamily(source).prepare(source);
    const bytes = (pattern: RegExp) =>
      [...weights].reduce(
        (sum, [name, { shape }]) => sum + (pattern.test(name) ? 4 * shape.reduce((a: number, b: number) => a * b) : 0),
        0,
      );
    const [layer, outside] = [bytes(/\.layers\.0\./), bytes(/^(?!.*\.layers\.)/)];
    expect(parts.weights).toBe(copies.weights / 4 + 4 * (2 * layer + outside));
    expect(parts.gradients).toBe(copies.gradients / 4 + 4 * (layer + outside));
  });
});

describe('expectMemory', () => {
  it.each([
    [{ activationCheckpointing: 'none' }, 1e6, /set 'activationCheckpointing: layer'$/],
    [{}, 1e6, /lower 'sequenceLength'$/],
    [{}, 1, /choose a smaller 'model' or 'dtype: bf16'$/],
    [{ mesh: { dp: 2 } }, 1, /set 'fullyShard: true', or lower 'mesh.dp'$/],
    [{ method: 'full' }, 1, /set 'method: lora'$/],
  ])('refuses what does not fit in one line with the remedy: %j, %d tokens', (changes, tokens, remedy) => {
    const plan = planMemory(source, settings(changes), tokens);
    expect(() => expectMemory(plan, settings(changes), plan.total)).not.toThrow();
    const refusal = () => expectMemory(plan, settings(changes), plan.total - 1);
    expect(refusal).toThrow(
      /^Expected the run to fit into the .+ of free memory but it needs about .+ \(weights .+, gradients .+, optimizer .+, activations .+\); [^\n]+$/,
    );
    expect(refusal).toThrow(remedy);
  });
});

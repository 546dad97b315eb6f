import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Communicator, isRankFailure } from '../../src/distributed/communicator.js';
import type { ActivationCheckpointing } from '../../src/nn/context.js';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import type { TrainingDocument } from '../../src/training/documents.js';
import { GradientReduction } from '../../src/training/gradient_exchange.js';
import { loadObjective } from '../../src/training/objectives/load.js';
import { disposeGradients, zeroGradients } from '../../src/training/optimizer.js';
import { addGradients, DivergenceError } from '../../src/training/trainer.js';
import { expectClose } from '../support/fixtures.js';
import {
  expectTrained,
  openStudent,
  randomDocuments,
  readAll,
  runSteps,
  type Student,
  trainOnRanks,
} from './student.js';

const vocabulary = 60;
let groups = 0;

describe('training', () => {
  let device: Device;
  const students: Student[] = [];
  beforeAll(() => {
    device = Device.open('cpu', { threads: 2 });
  });
  afterEach(() => {
    for (const { model } of students.splice(0)) model.dispose();
    expect(device.statistics().liveTensors).toBe(0);
  });
  afterAll(() => device.close());

  const open = async (
    ...[name, method, options]: [...Parameters<typeof openStudent>] extends [unknown, ...infer R] ? R : never
  ) => {
    const student = await openStudent(device, name, method, options);
    students.push(student);
    return student;
  };

  /** Loss and gradients of windows given as micro-batches. */
  async function gradientsOf(
    student: Student,
    microBatches: TrainingDocument[][],
    checkpointing: ActivationCheckpointing = 'none',
    sameNumber = false,
  ) {
    const rows = microBatches.flat();
    const window = { rows, trained: rows.reduce((sum, document) => sum + document.trained, 0) };
    const objective = await loadObjective('cross-entropy');
    let loss = 0;
    for (const [index, documents] of microBatches.entries()) {
      const number = sameNumber ? 0 : index;
      const options = { objective, window, number, activationCheckpointing: checkpointing };
      using share = addGradients(student.model, documents, options);
      loss += (await share.readFloats())[0]!;
    }
    const gradients = await readAll(
      new Map([...student.parameters].map(([name, parameter]) => [name, parameter.grad])),
    );
    disposeGradients(student.parameters);
    return { loss, gradients };
  }

  function expectSame(actual: Map<string, Float32Array>, expected: Map<string, Float32Array>, tolerance: number): void {
    expect([...actual.keys()]).toEqual([...expected.keys()]);
    for (const [name, values] of expected) {
      if (tolerance === 0)
        expect(Buffer.from(actual.get(name)!.buffer).equals(Buffer.from(values.buffer)), name).toBe(true);
      else expectClose(actual.get(name)!, values, tolerance, name);
    }
  }

  describe.each(['full', 'lora'] as const)('%s', (method) => {
    it.each(['tied', 'linear', 'bias'] as const)(
      'packs documents of %s without changing loss or gradients',
      async (name) => {
        const student = await open(name, method);
        const documents = randomDocuments(8, vocabulary);
        const packed = await gradientsOf(student, [documents]);
        const separate = await gradientsOf(
          student,
          documents.map((document) => [document]),
        );
        expect(packed.loss).toBeGreaterThan(1);
        expect(Math.abs(packed.loss - separate.loss)).toBeLessThan(1e-6);
        expectSame(packed.gradients, separate.gradients, 1e-6);
        expect(Math.max(...[...packed.gradients.values()].map((values) => Math.max(...values)))).toBeGreaterThan(1e-3);
      },
    );

    it('gives the same bits however activations are checkpointed', async () => {
      for (const dtype of ['f32', 'bf16'] as const) {
        const student = await open('tied', method, { dropout: 0.3, dtype });
        const documents = randomDocuments(60, vocabulary);
        const halves = [documents.slice(0, 35), documents.slice(35)];
        const plain = await gradientsOf(student, halves);
        for (const checkpointing of ['selective', 'layer'] as const) {
          const recomputed = await gradientsOf(student, halves, checkpointing);
          expect(recomputed.loss).toBe(plain.loss);
          expectSame(recomputed.gradients, plain.gradients, 0);
        }
      }
    });

    it('takes the same steps whether a window is one micro-batch or eight', async () => {
      const documents = randomDocuments(40, vocabulary);
      const eight = await open('tied', method);
      const one = await open('tied', method);
      const narrow = await runSteps(eight, documents, { microBatch: 1, gradientAccumulation: 8, sequenceLength: 40 });
      const wide = await runSteps(one, documents, { microBatch: 8, gradientAccumulation: 1, sequenceLength: 40 });
      expect(narrow.losses.length).toBeGreaterThan(2);
      expectClose(wide.losses, narrow.losses, 1e-6, 'losses');
      expectClose(wide.gradNorms, narrow.gradNorms, 2e-6, 'gradient norms');
    });
  });

  it('draws other dropout masks for other micro-batches', async () => {
    const student = await open('tied', 'lora', { dropout: 0.5 });
    const [document] = randomDocuments(1, vocabulary) as [TrainingDocument];
    const halves = [[document], [document]];
    const different = await gradientsOf(student, halves);
    const same = await gradientsOf(student, halves, 'none', true);
    expect(different.loss).not.toBe(same.loss);
  });

  it('learns a few documents by heart', async () => {
    const documents = randomDocuments(3, vocabulary);
    for (const [method, bits, learningRate] of [
      ['full', 32, 1e-2],
      ['lora', 32, 2e-2],
      ['full', 8, 1e-2],
    ] as const) {
      const student = await open('tied', method);
      const { losses } = await runSteps(student, documents, { epochs: 60, bits, learningRate });
      expect(losses[0]!).toBeGreaterThan(3);
      expect(losses.at(-1)!, `${method} ${bits}`).toBeLessThan(0.3);
    }
  });

  it('trains bf16 weights close to f32 ones, with f32 masters and with stochastic rounding', async () => {
    const documents = randomDocuments(12, vocabulary);
    const curve = async (dtype: 'f32' | 'bf16', stochasticRounding = false) => {
      const settings = { epochs: 10, sequenceLength: 40, learningRate: 3e-3, stochasticRounding };
      return (await runSteps(await open('tied', 'full', { dtype }), documents, settings)).losses;
    };
    const exact = await curve('f32');
    expect(exact.at(-1)!).toBeLessThan(exact[0]! - 0.5);
    expectClose(await curve('bf16'), exact, 0.03, 'losses with f32 masters');
    expectClose(await curve('bf16', true), exact, 0.06, 'losses with stochastic rounding');
  });

  it('stops at a loss that is not a number, with the weights of the step before', async () => {
    const student = await open('tied', 'full');
    const weight = student.model.weights.get('model.norm.weight')!;
    const values = await weight.readFloats();
    weight.write(values.map((value, index) => (index === 3 ? Number.NaN : value)));
    const before = await readAll(student.parameters);
    const run = runSteps(student, randomDocuments(4, vocabulary), {});
    await expect(run).rejects.toThrow(DivergenceError);
    await expect(run).rejects.toThrow(/^Loss is NaN at step 1; lower 'learningRate'/);
    expectSame(await readAll(student.parameters), before, 0);
  });

  it('refuses a step with nothing to train, in one line', async () => {
    const student = await open('tied', 'full');
    const untrained = randomDocuments(2, vocabulary).map((document) => ({
      ...document,
      targets: document.targets.map(() => -1),
      trained: 0,
    }));
    await expect(runSteps(student, untrained, {})).rejects.toThrow(
      /^Expected step 1 to have tokens to train but none of its \d+ is; look at its rows with `compress-distill inspect`$/,
    );
  });

  describe('on several ranks', () => {
    // Windows of five micro-batches, the last of an epoch of fewer: no share is equal.
    const shape = { gradientAccumulation: 5, sequenceLength: 24, epochs: 3 };

    it.each([
      ['full', 'tied', 'none'],
      ['full', 'linear', 'layer'],
      ['full', 'bias', 'selective'],
      ['lora', 'tied', 'layer'],
    ] as const)(
      'trains as one rank does (%s, %s, activation checkpointing %s)',
      async (method, model, activationCheckpointing) => {
        const documents = randomDocuments(40, vocabulary);
        const settings = { method, model, activationCheckpointing, ...shape };
        const alone = await trainOnRanks(1, settings, documents);
        for (const ranks of [2, 4]) expectTrained(await trainOnRanks(ranks, settings, documents), alone);
      },
    );

    it("sums a layer's gradients while the layers before it are still at work", async () => {
      for (const checkpointing of ['none', 'layer'] as const) {
        const student = await open('linear', 'full');
        const { model, parameters } = student;
        const summed: string[] = [];
        const atWork = new Set<string>();
        class Watched extends Communicator {
          override allReduce(tensor: Tensor): void {
            const name = [...parameters].find(([, { grad }]) => grad === tensor)?.[0];
            if (name === undefined) return;
            summed.push(name);
            for (const [other, { grad }] of parameters) if (grad!.version === 1) atWork.add(`${name} before ${other}`);
          }
        }
        const communicator = new Watched(device, `watched-${++groups}`, 0, 1);
        const exchange = new GradientReduction(model, parameters, communicator);
        const settings = { epochs: 1, gradientAccumulation: 1, sequenceLength: 500 };
        const documents = randomDocuments(9, vocabulary);
        await runSteps(student, documents, settings, { exchange, activationCheckpointing: checkpointing });
        expect([...summed].sort()).toEqual([...parameters.keys()].sort());
        expect(summed[0]).toBe('lm_head.weight');
        expect(summed.at(-1)).toBe('model.embed_tokens.weight');
        // Version 1: zeros, to which nothing was added yet.
        expect(atWork).toContain('lm_head.weight before model.layers.0.mlp.up_proj.weight');
        expect(atWork).toContain('model.layers.1.mlp.up_proj.weight before model.layers.0.mlp.down_proj.weight');
        expect(atWork).not.toContain('model.layers.1.mlp.up_proj.weight before model.layers.1.input_layernorm.weight');
      }
    });

    it('refuses a gradient that grows after it was summed', async () => {
      const { model, parameters } = await open('linear', 'full');
      zeroGradients(parameters);
      const communicator = new Communicator(device, `late-${++groups}`, 0, 1);
      const exchange = new GradientReduction(model, parameters, communicator);
      const name = 'model.layers.1.mlp.up_proj.weight';
      exchange.pass({ last: true, counts: true }, (hooks) => {
        hooks!.afterBackward(1);
        launch('fill', [parameters.get(name)!.grad], [1]);
      });
      expect(() => exchange.finish()).toThrow(`Expected the gradient of '${name}' to be whole after its layer`);
    });

    it('fails on every rank when one cannot take part', async () => {
      const devices = [0, 1].map(() => Device.open('cpu', { threads: 1 }));
      const outcomes = await Promise.allSettled(
        devices.map(async (own, rank) => {
          const student = await openStudent(own, 'tied', 'full');
          const communicator = new Communicator(own, 'trainer-test-poison', rank, 2);
          const exchange = new GradientReduction(student.model, student.parameters, communicator);
          // Rank 1's tokens are not in the vocabulary: its gradients are never computed.
          const documents = randomDocuments(4, rank === 0 ? vocabulary : 1e6);
          const settings = { microBatch: 1, gradientAccumulation: 4, sequenceLength: 24 };
          await runSteps(student, documents, settings, { exchange });
        }),
      );
      await Promise.all(devices.map((own) => own.close()));
      expect(outcomes.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
      expect(isRankFailure((outcomes[0] as PromiseRejectedResult).reason)).toBe(true);
      expect(String((outcomes[1] as PromiseRejectedResult).reason)).toMatch(/embedding/);
    });
  });
});

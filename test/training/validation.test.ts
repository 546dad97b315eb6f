import { describe, expect, it } from 'vitest';
import { Device } from '../../src/tensor/device.js';
import { documentsInMemory, type TrainingDocument } from '../../src/training/documents.js';
import { loadObjective } from '../../src/training/objectives/load.js';
import { disposeGradients, zeroGradients } from '../../src/training/optimizer.js';
import { addGradients } from '../../src/training/trainer.js';
import { splitDocuments, Validation } from '../../src/training/validation.js';
import { listOf, openStudent, randomDocuments, readAll, runSteps } from './student.js';

const documents = randomDocuments(40, 100);
const split = async (all: readonly TrainingDocument[], fraction: number, seed: number) => {
  const { training, validation } = await splitDocuments(documentsInMemory(all), fraction, seed);
  return { training: listOf(training), validation: listOf(validation) };
};
const ids = (chosen: readonly { id: string }[]) => chosen.map(({ id }) => id).sort();

describe('splitDocuments', () => {
  it('holds out the share it is told, every row on one side', async () => {
    const { training, validation } = await split(documents, 0.25, 0);
    expect(validation).toHaveLength(10);
    expect(ids([...training, ...validation])).toEqual(ids(documents));
    expect((await split(documents, 0.001, 0)).validation).toEqual([]);
    expect((await split(documents, 0, 0)).training).toEqual(documents);
    expect((await split([], 0.5, 0)).training).toEqual([]);
  });

  it('goes by id and seed, not by order', async () => {
    const held = ids((await split(documents, 0.25, 0)).validation);
    expect(ids((await split([...documents].reverse(), 0.25, 0)).validation)).toEqual(held);
    expect(ids((await split(documents, 0.25, 1)).validation)).not.toEqual(held);
  });

  it('keeps rows of one id together', async () => {
    const twice = documents.flatMap((document) => [document, { ...document }]);
    const { training, validation } = await split(twice, 0.25, 0);
    expect(validation).toHaveLength(20);
    expect(training.some(({ id }) => validation.some((held) => held.id === id))).toBe(false);
  });

  it('refuses to hold out everything', async () => {
    await expect(split(documents.slice(0, 1), 0.9, 0)).rejects.toThrow(
      /^Expected 'validationSplit' to leave rows to train on but 0.9 holds out every one of 1; lower it$/,
    );
  });
});

describe('Validation', () => {
  it('is the loss that training computes, whatever the packs', async () => {
    const device = Device.open('cpu', { threads: 2 });
    const { model, parameters } = await openStudent(device, 'tied', 'lora');
    zeroGradients(parameters);
    const trained = documents.reduce((sum, document) => sum + document.trained, 0);
    const objective = await loadObjective('cross-entropy');
    const window = { rows: documents, trained };
    const loss = addGradients(model, documents, { objective, window, number: 0, activationCheckpointing: 'none' });
    const [expected] = await loss.readFloats();
    const stored = documentsInMemory(documents);
    for (const sequenceLength of [20, 64, 1000]) {
      const validation = await Validation.create(stored, sequenceLength);
      const { validationLoss, ...rest } = await validation.losses(model, objective, null);
      expect(validationLoss).toBeCloseTo(expected!, 5);
      expect(rest).toEqual({});
    }
    await device.close();
  });

  it("has the value of the run's own objective beside it, all rows one window, whatever the packs", async () => {
    const device = Device.open('cpu', { threads: 2 });
    const { model, parameters } = await openStudent(device, 'tied', 'lora');
    zeroGradients(parameters);
    const objective = await loadObjective('length-weighted', { exponent: 1 });
    const window = { rows: documents, trained: documents.reduce((sum, document) => sum + document.trained, 0) };
    const loss = addGradients(model, documents, { objective, window, number: 0, activationCheckpointing: 'none' });
    const [expected] = await loss.readFloats();
    const stored = documentsInMemory(documents);
    const gradients = () => device.profile().find(({ op }) => op === 'linear_cross_entropy')!.calls;
    const computed = gradients();
    for (const sequenceLength of [20, 1000]) {
      const validation = await Validation.create(stored, sequenceLength);
      const { validationLoss, validationObjective } = await validation.losses(model, objective, null);
      expect(validationObjective).toBeCloseTo(expected!, 5);
      expect(Math.abs(validationLoss - expected!)).toBeGreaterThan(1e-3);
    }
    // That operation makes gradients on the way, which nobody wants here.
    expect(gradients()).toBe(computed);
    await device.close();
  });

  it('leaves gradients, memory and the bits of training alone, dropout and all', async () => {
    const device = Device.open('cpu', { threads: 2 });
    const objective = await loadObjective('length-weighted');
    const train = async (validate: boolean) => {
      const student = await openStudent(device, 'tied', 'lora', { dropout: 0.3 });
      const validation = await Validation.create(documentsInMemory(documents.slice(0, 10)), 64);
      const observed: number[] = [];
      const curve = await runSteps(
        student,
        documents.slice(10),
        { epochs: 1, gradientAccumulation: 2 },
        {},
        async () => {
          if (!validate) return;
          const { liveTensors } = device.statistics();
          observed.push((await validation.losses(student.model, objective, null)).validationLoss);
          expect(device.statistics().liveTensors).toBe(liveTensors);
        },
      );
      const weights = await readAll(student.parameters);
      disposeGradients(student.parameters);
      student.model.dispose();
      return { curve, weights, observed };
    };
    const plain = await train(false);
    const validated = await train(true);
    expect(validated.curve).toEqual(plain.curve);
    expect(validated.weights).toEqual(plain.weights);
    expect(new Set(validated.observed).size).toBe(validated.curve.losses.length);
    await device.close();
  });
});

import { describe, expect, it } from 'vitest';
import { TrainingPlan } from '../../src/training/plan.js';
import { randomDocuments } from './student.js';

const documents = randomDocuments(50, 100);
const settings = {
  sequenceLength: 40,
  seed: 4,
  epochs: 3,
  maxSteps: undefined,
  microBatch: 2,
  gradientAccumulation: 2,
};

describe('TrainingPlan', () => {
  it('shows every document once an epoch, in another order each time', () => {
    const plan = new TrainingPlan(documents, settings);
    const steps = [...plan.stepsAfter(0)];
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: plan.totalSteps }, (_, index) => index + 1));
    const perEpoch = plan.totalSteps / 3;
    const order = (epoch: number) =>
      steps
        .slice(epoch * perEpoch, (epoch + 1) * perEpoch)
        .flatMap(({ window }) => window.microBatches.flatMap(({ packs }) => packs.flatMap((pack) => pack.documents)));
    for (const epoch of [0, 1, 2]) {
      expect([...order(epoch)].sort((a, b) => a - b)).toEqual(documents.map((_, index) => index));
    }
    expect(order(1)).not.toEqual(order(0));
    expect(plan.trainedTokens()).toBe(3 * documents.reduce((sum, document) => sum + document.trained, 0));
  });

  it('goes on after a step as if it had never stopped', () => {
    const plan = new TrainingPlan(documents, settings);
    expect([...plan.stepsAfter(5)]).toEqual([...plan.stepsAfter(0)].slice(5));
    expect([...plan.stepsAfter(plan.totalSteps)]).toEqual([]);
  });

  it('numbers micro-batches through the run', () => {
    const steps = [...new TrainingPlan(documents, settings).stepsAfter(0)];
    let expected = 0;
    for (const { window, firstMicroBatch } of steps) {
      expect(firstMicroBatch).toBe(expected);
      expected += window.microBatches.length;
    }
  });

  it('ends at maxSteps', () => {
    const plan = new TrainingPlan(documents, { ...settings, maxSteps: 4 });
    expect(plan.totalSteps).toBe(4);
    expect([...plan.stepsAfter(2)].map(({ step }) => step)).toEqual([3, 4]);
    expect(new TrainingPlan(documents, { ...settings, maxSteps: 1000 }).totalSteps).toBe(
      new TrainingPlan(documents, settings).totalSteps,
    );
  });
});

import { describe, expect, it } from 'vitest';
import { documentsInMemory } from '../../src/training/documents.js';
import { type PlannedStep, TrainingPlan } from '../../src/training/plan.js';
import { randomDocuments } from './student.js';

const documents = randomDocuments(50, 100);
const stored = documentsInMemory(documents);

async function stepsOf(plan: TrainingPlan, done = 0): Promise<PlannedStep[]> {
  const steps: PlannedStep[] = [];
  for await (const step of plan.stepsAfter(done)) steps.push(step);
  return steps;
}

const settings = {
  sequenceLength: 40,
  seed: 4,
  epochs: 3,
  maxSteps: undefined,
  microBatch: 2,
  gradientAccumulation: 2,
};

describe('TrainingPlan', () => {
  it('shows every document once an epoch, in another order each time', async () => {
    const plan = await TrainingPlan.create(stored, settings);
    const steps = await stepsOf(plan);
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: plan.totalSteps }, (_, index) => index + 1));
    const perEpoch = plan.totalSteps / 3;
    const order = (epoch: number) =>
      steps
        .slice(epoch * perEpoch, (epoch + 1) * perEpoch)
        .flatMap(({ window }) =>
          window.microBatches.flatMap(({ packs }) => packs.flatMap((pack) => [...pack.documents])),
        );
    for (const epoch of [0, 1, 2]) {
      expect([...order(epoch)].sort((a, b) => a - b)).toEqual(documents.map((_, index) => index));
    }
    expect(order(1)).not.toEqual(order(0));
    expect(await plan.trainedTokens()).toBe(3 * documents.reduce((sum, document) => sum + document.trained, 0));
  });

  it('goes on after a step as if it had never stopped', async () => {
    const plan = await TrainingPlan.create(stored, settings);
    expect(await stepsOf(plan, 5)).toEqual((await stepsOf(plan)).slice(5));
    expect(await stepsOf(plan, plan.totalSteps)).toEqual([]);
  });

  it('numbers micro-batches through the run', async () => {
    const steps = await stepsOf(await TrainingPlan.create(stored, settings));
    let expected = 0;
    for (const { window, firstMicroBatch } of steps) {
      expect(firstMicroBatch).toBe(expected);
      expected += window.microBatches.length;
    }
  });

  it('ends at maxSteps', async () => {
    const plan = await TrainingPlan.create(stored, { ...settings, maxSteps: 4 });
    expect(plan.totalSteps).toBe(4);
    expect((await stepsOf(plan, 2)).map(({ step }) => step)).toEqual([3, 4]);
    const unlimited = await TrainingPlan.create(stored, settings);
    expect((await TrainingPlan.create(stored, { ...settings, maxSteps: 1000 })).totalSteps).toBe(unlimited.totalSteps);
  });
});

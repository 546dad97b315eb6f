/** Training a model that several ranks hold together: weights after ten steps are those of one rank. */
import { describe, expect, it } from 'vitest';
import { Communicator } from '../../src/distributed/communicator.js';
import type { ActivationCheckpointing } from '../../src/nn/context.js';
import { GradientReduction } from '../../src/training/gradient_exchange.js';
import { gatherWhole, parameterParts } from '../../src/training/tensor_parallel.js';
import { withRanks } from '../distributed/ranks.js';
import { expectClose, type GoldenModel, relativeError } from '../support/fixtures.js';
import { openStudent, type RunSettings, randomDocuments, runSteps } from './student.js';

interface Settings extends Partial<RunSettings> {
  method: 'full' | 'lora';
  activationCheckpointing?: ActivationCheckpointing;
  dtype?: 'f32' | 'bf16';
}

let runs = 0;

/** Trains on dp · tp ranks. @returns of each rank losses, norms and whole weights */
async function trainOn(tp: number, name: GoldenModel, { method, dtype = 'f32', ...settings }: Settings, dp = 1) {
  const { activationCheckpointing = 'none', ...shape } = settings;
  const documents = randomDocuments(24, name === 'tied' ? 131 : 101);
  const run = ++runs;
  return withRanks(dp * tp, (ranks) =>
    Promise.all(
      ranks.map(async ({ device, rank }) => {
        const join = (kind: string, place: number, size: number) =>
          size > 1 ? new Communicator(device, `tp-${process.pid}-${run}-${kind}`, place, size) : null;
        const group = join(`tp${Math.floor(rank / tp)}`, rank % tp, tp);
        const replicas = join(`dp${rank % tp}`, Math.floor(rank / tp), dp);
        const student = await openStudent(device, name, method, { dropout: 0.1, dtype, group });
        const { model, parameters } = student;
        const exchange = replicas && new GradientReduction(model, parameters, replicas);
        const { losses, gradNorms } = await runSteps(
          student,
          documents,
          { gradientAccumulation: 4, epochs: 6, ...shape },
          { activationCheckpointing, exchange },
        );
        const parts = parameterParts(model);
        const weights = new Map<string, Float32Array>();
        for (const [key, parameter] of parameters) {
          using whole = group ? gatherWhole(parameter, parts.get(key)!, group) : parameter.alias();
          weights.set(key, await whole.readFloats());
        }
        model.dispose();
        return { losses, gradNorms, weights };
      }),
    ),
  );
}

type Results = Awaited<ReturnType<typeof trainOn>>;

function expectTrained(results: Results, [alone]: Results, tolerance = 1e-6): void {
  for (const { losses, gradNorms, weights } of results) {
    expect(losses.length).toBeGreaterThanOrEqual(10);
    expectClose(losses, alone!.losses, tolerance, 'losses');
    expectClose(gradNorms, alone!.gradNorms, 3 * tolerance, 'gradient norms');
    for (const [name, values] of weights) {
      expect(values, name).toEqual(results[0]!.weights.get(name));
      expect(relativeError(values, alone!.weights.get(name)!), name).toBeLessThan(tolerance);
    }
  }
}

// Grouped heads that are split or held by several ranks, tied and untied embeddings, biases.
describe.each(['linear', 'tied', 'bias'] as const)('%s', (name) => {
  it.each(['full', 'lora'] as const)('%s, over 2 and 4 ranks', async (method) => {
    const alone = await trainOn(1, name, { method });
    for (const tp of [2, 4]) expectTrained(await trainOn(tp, name, { method }), alone);
  });
});

it.each(['selective', 'layer'] as const)('with %s activation checkpointing', async (activationCheckpointing) => {
  for (const method of ['full', 'lora'] as const)
    expectTrained(
      await trainOn(2, 'tied', { method, activationCheckpointing }),
      await trainOn(1, 'tied', { method, activationCheckpointing }),
    );
});

it('beside data parallelism', async () => {
  for (const method of ['full', 'lora'] as const)
    expectTrained(await trainOn(2, 'tied', { method }, 2), await trainOn(1, 'tied', { method }));
});

it('in bf16, as far as that goes', async () => {
  const [alone, two] = [
    await trainOn(1, 'tied', { method: 'full', dtype: 'bf16' }),
    await trainOn(2, 'tied', { method: 'full', dtype: 'bf16' }),
  ];
  expectClose(two[0]!.losses, alone[0]!.losses, 0.02, 'losses');
  for (const [name, values] of two[0]!.weights) expect(values, name).toEqual(two[1]!.weights.get(name));
});

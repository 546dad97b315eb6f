// Loss and gradients of every objective, with respect to hidden states and the head, against its definition in f64 over the
// whole vocabulary and central differences of that.
import { describe, expect, it } from 'vitest';
import type { CausalLM } from '../../../src/nn/model.js';
import { Device } from '../../../src/tensor/device.js';
import { scope } from '../../../src/tensor/scope.js';
import { Tape } from '../../../src/tensor/tape.js';
import { Tensor } from '../../../src/tensor/tensor.js';
import { createDocument, type TrainingDocument } from '../../../src/training/documents.js';
import { loadObjective } from '../../../src/training/objectives/load.js';
import { evaluateObjective } from '../../../src/training/objectives/objective.js';
import { assembleBatch } from '../../../src/training/packing.js';
import { generator, input, normal } from '../../ops/harness/data.js';
import { centralDifferences, type Differentiable } from '../../ops/harness/differentiable.js';
import type { TensorSpec } from '../../ops/harness/types.js';

const [vocabulary, size] = [11, 5];

interface Data {
  weight: number;
  weights: number[];
  teacher: { token: number; logprob: number; top: { token: number; logprob: number }[] }[];
}

/** A document of `length` tokens, two thirds of them trained, with all that any objective asks of a row. */
function row(seed: number, length: number): TrainingDocument {
  const next = generator(seed);
  const below = (limit: number) => Math.floor(next() * limit);
  const tokens = Array.from({ length }, () => below(vocabulary));
  const labels = tokens.map((token, position) => (position === 1 || below(3) > 0 ? token : -1));
  const targets = labels.slice(1).filter((label) => label >= 0);
  const data: Data = {
    weight: next() * 2,
    weights: targets.map(() => next() * 2),
    teacher: targets.map((token) => {
      const count = 2 + below(3);
      const first = below(vocabulary);
      const top = Array.from({ length: count }, (_, k) => ({
        token: (first + 2 * k) % vocabulary,
        logprob: -4 * next(),
      }));
      return { token, logprob: -1, top };
    }),
  };
  return createDocument(`row ${seed}`, tokens, labels, { ...data });
}

/** In f64: log-probabilities of the whole vocabulary at one position. */
function logSoftmax(hidden: TensorSpec, weight: TensorSpec, position: number): number[] {
  const logits = Array.from({ length: vocabulary }, (_, token) => {
    let sum = 0;
    for (let k = 0; k < size; ++k) sum += hidden.data![position * size + k]! * weight.data![token * size + k]!;
    return sum;
  });
  return normalised(logits);
}

function normalised(logits: readonly number[]): number[] {
  const lse = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  return logits.map((logit) => logit - lse);
}

interface Place {
  row: TrainingDocument;
  data: Data;
  nth: number;
  target: number;
  window: readonly TrainingDocument[];
}
/** What one trained token adds to the loss, given the log-probabilities of the vocabulary. */
type Term = (logprobs: readonly number[], place: Place) => number;

const trainedIn = (rows: readonly TrainingDocument[]): number => rows.reduce((sum, { trained }) => sum + trained, 0);
const kl = (p: readonly number[], q: readonly number[]): number =>
  p.reduce((sum, logprob, k) => sum + Math.exp(logprob) * (logprob - q[k]!), 0);
const supports = (logprobs: readonly number[], { data, nth }: Place): [p: number[], q: number[]] => {
  const { top } = data.teacher[nth]!;
  return [normalised(top.map(({ logprob }) => logprob)), normalised(top.map(({ token }) => logprobs[token]!))];
};
const lengthWeighted =
  (exponent: number): Term =>
  (logprobs, { row: { trained }, target, window }) =>
    (-logprobs[target]! * trained ** -exponent) / window.reduce((sum, each) => sum + each.trained ** (1 - exponent), 0);

const definitions: [name: string, options: Record<string, unknown>, term: Term][] = [
  ['cross-entropy', {}, (logprobs, { target, window }) => -logprobs[target]! / trainedIn(window)],
  [
    'weighted',
    {},
    (logprobs, { data, nth, target, window }) =>
      (-logprobs[target]! * data.weight * data.weights[nth]!) / trainedIn(window),
  ],
  ['length-weighted', {}, lengthWeighted(1)],
  ['length-weighted', { exponent: 0.5 }, lengthWeighted(0.5)],
  ['forward-kl', {}, (logprobs, place) => kl(...supports(logprobs, place)) / trainedIn(place.window)],
  [
    'reverse-kl',
    {},
    (logprobs, place) => {
      const [p, q] = supports(logprobs, place);
      return kl(q, p) / trainedIn(place.window);
    },
  ],
  [
    'examples/objectives/weighted.ts',
    {},
    (logprobs, { data, nth, target, window }) => {
      const weights = window.flatMap((each) => (each.data as unknown as Data).weights);
      return (-logprobs[target]! * data.weights[nth]!) / weights.reduce((sum, weight) => sum + weight, 0);
    },
  ],
];

/** An objective on `rows`, which are part of `window`, as something with a reference. */
function entryOf(term: Term, rows: readonly TrainingDocument[], window: readonly TrainingDocument[]): Differentiable {
  const tokens = rows.reduce((sum, each) => sum + each.tokens.length, 0);
  return {
    ...{ name: 'objective', op: 'token_logprobs', wanted: ['hidden', 'weight'] },
    inputs: { hidden: input('f32', [tokens, size], normal(1)), weight: input('f32', [vocabulary, size], normal(2)) },
    run: () => {
      throw new Error('not used');
    },
    reference: ({ hidden, weight }) => {
      let [loss, position] = [0, 0];
      for (const each of rows) {
        let nth = 0;
        for (const target of each.targets) {
          if (target >= 0) {
            const place = { row: each, data: each.data as unknown as Data, nth: nth++, target, window };
            loss += term(logSoftmax(hidden!, weight!, position), place);
          }
          ++position;
        }
      }
      return Float64Array.of(loss);
    },
  };
}

describe.each(['cpu', 'cpu-chaos'])('on %s', (deviceName) => {
  it.each([
    ...definitions.map((definition) => [definition[0], JSON.stringify(definition[1]), 'short', definition] as const),
    ...definitions.slice(4, 6).map((definition) => [definition[0], '', 'more than one chunk of', definition] as const),
  ])('%s %s, %s rows', async (_name, _options, lengths, [name, options, term]) => {
    const rows = lengths === 'short' ? [row(1, 6), row(2, 9)] : [row(3, 200), row(4, 250)];
    const window = [row(5, 12), ...rows];
    const objective = await loadObjective(name, options);
    for (const each of window) objective.checkRow?.(each);
    const entry = entryOf(term, rows, window);
    const device = Device.open(deviceName, { threads: 2 });
    const upload = ({ data, shape }: TensorSpec) => Tensor.from(device, Float32Array.from(data!), shape);
    const [hidden, weight] = [upload(entry.inputs.hidden!), upload(entry.inputs.weight!)];
    hidden.requiresGrad = true;
    weight.requiresGrad = true;
    const loss = scope(() => {
      using tape = new Tape();
      const result = tape.run(() =>
        evaluateObjective(objective, {
          ...{ model: { device, outputWeight: weight } as CausalLM, hidden, rows, packed: assembleBatch(rows) },
          window: { rows: window, trained: trainedIn(window) },
        }),
      );
      tape.backward(result);
      return result;
    });
    const [expected] = entry.reference(entry.inputs);
    expect(Math.abs((await loss.readFloats())[0]! - expected!)).toBeLessThan(1e-5);
    for (const [key, tensor] of Object.entries({ hidden, weight })) {
      if (lengths !== 'short' && key === 'hidden') continue;
      const actual = await tensor.grad!.readFloats();
      const gradient = centralDifferences(entry, key, Float64Array.of(1));
      expect(Math.max(...gradient.map(Math.abs))).toBeGreaterThan(1e-3);
      for (const [index, value] of gradient.entries())
        expect(Math.abs(actual[index]! - value), `gradient of '${key}' [${index}]`).toBeLessThan(
          1e-5 * (1 + Math.abs(value)),
        );
    }
    for (const tensor of [loss, hidden, weight, hidden.grad!, weight.grad!]) tensor.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });
});

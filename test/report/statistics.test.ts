import { describe, expect, it } from 'vitest';
import type { ArmReport, StudentReport } from '../../src/report/report_data.js';
import { holm, mcnemarExact, mean, proportionStandardError } from '../../src/report/statistics.js';
import { compareArms, summariseArm, summariseCompression, verdicts } from '../../src/report/summary.js';
import { emptyReport } from './example_report.js';

/** The binomial tail in exact integers. */
function mcnemarReference(b: number, c: number): number {
  const n = BigInt(b + c);
  let term = 1n;
  let tail = 0n;
  for (let k = 0n; k <= BigInt(Math.min(b, c)); k++) {
    tail += term;
    term = (term * (n - k)) / (k + 1n);
  }
  const scale = 10n ** 18n;
  return Math.min(1, Number((2n * tail * scale) / 2n ** n) / 1e18);
}

describe('McNemar', () => {
  it.each([
    [0, 0],
    [1, 0],
    [0, 6],
    [5, 1],
    [10, 2],
    [12, 12],
    [40, 21],
    [300, 250],
    [900, 700],
  ])('of %i and %i', (b, c) => {
    expect(mcnemarExact(b, c)).toBeCloseTo(mcnemarReference(b, c), 9);
    expect(mcnemarExact(c, b)).toBe(mcnemarExact(b, c));
  });

  it('agrees with published values', () => {
    expect(mcnemarExact(0, 6)).toBeCloseTo(0.03125, 12);
    expect(mcnemarExact(4, 12)).toBeCloseTo(0.0768, 4);
  });
});

it('corrects by Holm, in the order given and never downwards', () => {
  expect(holm([0.01, 0.04, 0.03, 0.005]).map((p) => Number(p.toFixed(6)))).toEqual([0.03, 0.06, 0.06, 0.02]);
  expect(holm([0.9, 0.8])).toEqual([1, 1]);
  expect(holm([])).toEqual([]);
});

it('gives means and standard errors', () => {
  expect(mean([1, 2, 6])).toBe(3);
  expect(proportionStandardError(0.5, 101)).toBeCloseTo(0.05, 12);
  expect(proportionStandardError(1, 50)).toBe(0);
  expect(proportionStandardError(1, 1)).toBe(0);
});

it('has the paper’s columns', () => {
  const outcome = {
    id: 'x',
    dataset: 'sums',
    correct: true,
    truncated: false,
    completionTokens: 100,
    reasoningCharacters: 50,
    reasoningTokens: 10,
  };
  const summary = summariseArm([
    outcome,
    { ...outcome, correct: false, truncated: true, completionTokens: 400, reasoningTokens: 30 },
    { ...outcome, reasoningTokens: 20, completionTokens: 200 },
    { ...outcome, correct: false, completionTokens: 300, reasoningTokens: 40 },
  ]);
  expect(summary).toMatchObject({
    count: 4,
    accuracy: 0.5,
    meanTokens: 250,
    meanTokensFinished: 200,
    truncationRate: 0.25,
    medianReasoningTokens: 25,
    medianReasoningCharacters: 50,
    accuracyPerThousandTokens: 2,
  });
  expect(summary.standardError).toBeCloseTo(Math.sqrt(0.25 / 3), 12);
  // The paper's Table 9, first row: 0.528 at 2,954 tokens gives 0.1786.
  const paper = Array.from({ length: 1000 }, () => ({ ...outcome, completionTokens: 2954 })).map((o, i) => ({
    ...o,
    correct: i < 528,
  }));
  expect(summariseArm(paper).accuracyPerThousandTokens).toBeCloseTo(0.1787, 4);
});

it('takes the mean of the ratios of each example', () => {
  const compressor = {
    name: 'c',
    model: 'm',
    traces: 3,
    usable: 2,
    failures: '',
    datasets: ['sums', 'sums'],
    tokens: [5, 7],
    originalTokens: [10, 10],
  };
  expect(summariseCompression({ ...compressor, characters: [10, 90], originalCharacters: [100, 100] })).toEqual({
    meanCharacters: 50,
    meanTokens: 6,
    meanRatio: 0.5,
    medianRatio: 0.5,
  });
});

function arm(name: string, correct: (index: number) => boolean): ArmReport {
  const outcomes = Array.from({ length: 100 }, (_, index) => ({
    id: `q${index}`,
    dataset: 'sums',
    correct: correct(index),
    truncated: false,
    completionTokens: 10,
    reasoningCharacters: 5,
    reasoningTokens: 2,
  }));
  return { arm: name, untrained: name === 'untrained', training: null, loss: [], outcomes };
}
const student = (...arms: ArmReport[]): StudentReport => ({ name: 's', model: 'm', method: 'lora', arms });

it('pairs arms by question, in two families', () => {
  const shuffled = arm('b', (index) => index >= 10 && index < 40);
  shuffled.outcomes.reverse();
  const [pair, ...baseline] = compareArms(
    student(
      arm('untrained', () => false),
      arm('a', (i) => i < 30),
      shuffled,
    ),
  );
  expect(pair).toMatchObject({
    family: 'arms',
    a: 'a',
    b: 'b',
    count: 100,
    onlyA: 10,
    onlyB: 10,
    p: 1,
    significant: false,
  });
  expect(baseline.map(({ a, b, family, significant }) => [a, b, family, significant])).toEqual([
    ['a', 'untrained', 'baseline', true],
    ['b', 'untrained', 'baseline', true],
  ]);
});

it('says which differences are significant, or that none is', () => {
  const same = emptyReport([
    student(
      arm('a', (i) => i < 50),
      arm('b', (i) => i < 48),
    ),
  ]);
  expect(verdicts(same)[0]).toMatch(/^s: differences not significant \(.*100 questions.*smallest p = 0\.500\)\.$/);
  const apart = emptyReport([
    student(
      arm('a', (i) => i < 20),
      arm('b', (i) => i < 80),
      arm('c', (i) => i < 79),
    ),
  ]);
  expect(verdicts(apart)[0]).toMatch(
    /^s: b > a \(p = .*\), c > a \(p = .*\); the other differences are not significant \(/,
  );
});

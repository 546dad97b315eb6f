/** The columns of the paper's tables 3, 6 and 9 for one arm, and which differences between arms are significant. */
import { median } from 'd3-array';
import type { ArmReport, CompressorReport, Outcome, ReportData, StudentReport } from './report_data.js';
import { holm, mcnemarExact, mean, pairedBootstrap, proportionStandardError } from './statistics.js';

export interface ArmSummary {
  count: number;
  accuracy: number;
  standardError: number;
  /** Mean completion length in tokens, over all and over those not cut off (NaN when all were). */
  meanTokens: number;
  meanTokensFinished: number;
  truncationRate: number;
  medianReasoningCharacters: number;
  medianReasoningTokens: number;
  /** Accuracy ÷ mean completion tokens × 1000, the paper's "Acc / 1k tokens". */
  accuracyPerThousandTokens: number;
}

export function summariseArm(outcomes: readonly Outcome[]): ArmSummary {
  const accuracy = mean(outcomes.map((outcome) => Number(outcome.correct)));
  const meanTokens = mean(outcomes.map((outcome) => outcome.completionTokens));
  const finished = outcomes.filter((outcome) => !outcome.truncated);
  return {
    count: outcomes.length,
    accuracy,
    standardError: proportionStandardError(accuracy, outcomes.length),
    meanTokens,
    meanTokensFinished: mean(finished.map((outcome) => outcome.completionTokens)),
    truncationRate: 1 - finished.length / outcomes.length,
    medianReasoningCharacters: median(outcomes, (outcome) => outcome.reasoningCharacters) ?? Number.NaN,
    medianReasoningTokens: median(outcomes, (outcome) => outcome.reasoningTokens) ?? Number.NaN,
    accuracyPerThousandTokens: (accuracy / meanTokens) * 1000,
  };
}

export interface CompressionSummary {
  meanCharacters: number;
  meanTokens: number;
  /** Mean of the per-example ratios of characters, the paper's compression ratio. */
  meanRatio: number;
  medianRatio: number;
}

export function summariseCompression(compressor: CompressorReport): CompressionSummary {
  const ratios = compressor.characters.map((length, index) => length / compressor.originalCharacters[index]!);
  return {
    meanCharacters: mean(compressor.characters),
    meanTokens: mean(compressor.tokens),
    meanRatio: mean(ratios),
    medianRatio: median(ratios) ?? Number.NaN,
  };
}

/** The level of significance. */
export const significanceLevel = 0.05;

export interface Comparison {
  student: string;
  a: string;
  b: string;
  /** Questions that both were asked. */
  count: number;
  onlyA: number;
  onlyB: number;
  /** Accuracy of a minus that of b on these questions, and its 95 % paired bootstrap interval. */
  difference: number;
  interval: [low: number, high: number];
  /** McNemar's exact p, and after Holm's correction over all comparisons of the same student and family. */
  p: number;
  adjusted: number;
  significant: boolean;
  /** `arms`: two trained arms. `baseline`: a trained arm against the untrained student. */
  family: 'arms' | 'baseline';
}

function compare(student: string, family: Comparison['family'], pairs: readonly (readonly [ArmReport, ArmReport])[]) {
  const raw = pairs.map(([first, second]) => {
    const correctInSecond = new Map(second.outcomes.map(({ id, correct }) => [id, correct]));
    let [onlyA, onlyB, count] = [0, 0, 0];
    for (const { id, correct } of first.outcomes) {
      const other = correctInSecond.get(id);
      if (other === undefined) continue;
      count++;
      if (correct && !other) onlyA++;
      if (!correct && other) onlyB++;
    }
    return {
      student,
      family,
      a: first.arm,
      b: second.arm,
      count,
      onlyA,
      onlyB,
      difference: (onlyA - onlyB) / count,
      interval: pairedBootstrap(onlyA, onlyB, count),
      p: mcnemarExact(onlyA, onlyB),
    };
  });
  const adjusted = holm(raw.map(({ p }) => p));
  return raw.map((comparison, index): Comparison => {
    return { ...comparison, adjusted: adjusted[index]!, significant: adjusted[index]! < significanceLevel };
  });
}

/** Every pair of trained arms of a student, and every trained arm against the untrained student. */
export function compareArms(student: StudentReport): Comparison[] {
  const trained = student.arms.filter((arm) => !arm.untrained);
  const untrained = student.arms.filter((arm) => arm.untrained);
  const pairs = trained.flatMap((a, index) => trained.slice(index + 1).map((b) => [a, b] as const));
  const baseline = untrained.flatMap((b) => trained.map((a) => [a, b] as const));
  return [...compare(student.name, 'arms', pairs), ...compare(student.name, 'baseline', baseline)];
}

/** One sentence per student: which arms differ, or that the differences are not significant. */
export function verdicts(data: ReportData): string[] {
  return data.students.flatMap((student) => {
    const pairs = compareArms(student).filter(({ family }) => family === 'arms');
    if (pairs.length === 0) return [];
    const significant = pairs.filter((pair) => pair.significant);
    const method = `paired exact McNemar tests on ${pairs[0]!.count} questions, Holm-corrected over ${pairs.length} pairs`;
    if (significant.length === 0) {
      const least = Math.min(...pairs.map(({ adjusted }) => adjusted));
      return [`${student.name}: differences not significant (${method}; smallest p = ${formatP(least)}).`];
    }
    const list = significant.map(({ a, b, onlyA, onlyB, adjusted }) => {
      const [better, worse] = onlyA > onlyB ? [a, b] : [b, a];
      return `${better} > ${worse} (p = ${formatP(adjusted)})`;
    });
    const rest = significant.length === pairs.length ? '' : '; the other differences are not significant';
    return [`${student.name}: ${list.join(', ')}${rest} (${method}).`];
  });
}

export function formatP(p: number): string {
  return p < 0.001 ? p.toExponential(1) : p.toFixed(3);
}

/** The end of a run on the terminal: what fits a screen of 24 lines and 80 columns, unless there are many arms. */
import pc from 'picocolors';
import { alignColumns } from './columns.js';
import type { ReportData } from './report_data.js';
import { summariseArm, verdicts } from './summary.js';
import {
  costTable,
  figure,
  formatGap,
  methodName,
  type PredictionLine,
  predictionLines,
  significant,
} from './tables.js';

const header = ['Student', 'Data', 'Accuracy', '± SE', 'vs raw', 'Tokens', 'Reasoning', 'Acc/1k'];
const textColumns = 2;

function cells({ students }: ReportData): string[][] {
  return students.flatMap((student) => {
    const raw = student.arms.find(({ arm }) => arm === 'raw');
    const reference = raw === undefined ? Number.NaN : summariseArm(raw.outcomes).accuracy;
    return student.arms.map((arm) => {
      const summary = summariseArm(arm.outcomes);
      return [
        `${student.name}${students.length > 1 ? ` ${methodName(student, arm.untrained)}` : ''}`,
        arm.arm,
        figure(summary.accuracy, 3),
        figure(summary.standardError, 3),
        arm === raw ? '' : formatGap(100 * (summary.accuracy - reference)),
        figure(summary.meanTokens, 1),
        figure(summary.medianReasoningTokens),
        significant(summary.accuracyPerThousandTokens),
      ];
    });
  });
}

export function renderSummary(data: ReportData): string {
  const [columns, ...rows] = alignColumns(header, cells(data), textColumns);
  const [, promptTokens, tokens, seconds, hours, , wattHours, grams] = costTable(data).rows.at(-1)!;
  return [
    pc.bold(columns!),
    ...rows,
    '',
    ...verdicts(data),
    `Cost: ${promptTokens} tokens in, ${tokens} out, ${seconds} s, ${hours} ${data.factors.device}-hours, ${wattHours} Wh, ${grams} g CO₂e.`,
    ...predictionLines(data).slice(-1).map(expectedSentence),
  ].join('\n');
}

function expectedSentence({ tokens, seconds }: PredictionLine): string {
  const part = ({ expected: { expected, low, high }, actual }: PredictionLine['tokens'], unit: string) =>
    `${figure(expected)}${unit} (${figure(low)}–${figure(high)}; off by ${formatGap((100 * (expected - actual)) / actual)} %)`;
  return `Expected before: ${part(seconds, ' s')}, ${part(tokens, ' tokens')}.`;
}

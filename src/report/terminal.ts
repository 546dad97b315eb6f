/** The end of a run on the terminal: what fits a screen of 24 lines and 80 columns, unless there are many arms. */
import pc from 'picocolors';
import type { ReportData } from './report_data.js';
import { summariseArm, verdicts } from './summary.js';
import { costCells, figure, formatGap, methodName, predictionCells, significant } from './tables.js';

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
  const rows = cells(data);
  const widths = header.map((name, index) => Math.max(name.length, ...rows.map((row) => row[index]!.length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, index) => (index < textColumns ? cell.padEnd(widths[index]!) : cell.padStart(widths[index]!)))
      .join('  ')
      .trimEnd();
  const [, promptTokens, tokens, seconds, hours, , wattHours, grams] = costCells(data).at(-1)!;
  const expected = predictionCells(data).at(-1);
  return [
    pc.bold(line(header)),
    ...rows.map(line),
    '',
    ...verdicts(data),
    `Cost: ${promptTokens} tokens in, ${tokens} out, ${seconds} s, ${hours} ${data.factors.device}-hours, ${wattHours} Wh, ${grams} g CO₂e.`,
    ...(expected === undefined
      ? []
      : [`Expected before: ${expected[4]} s (${expected[6]}), ${expected[1]} tokens (${expected[3]}).`]),
  ].join('\n');
}

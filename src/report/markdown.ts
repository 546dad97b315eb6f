/** The report as Markdown, with the paper's columns. */
import type { ReportData } from './report_data.js';
import { mean } from './statistics.js';
import { verdicts } from './summary.js';
import {
  armCells,
  armColumns,
  comparisonCells,
  comparisonColumns,
  compressionCells,
  compressionColumns,
  costCells,
  costColumns,
  costNote,
  datasetCells,
  datasetColumns,
  figure,
  gapCells,
  gapColumns,
  predictionCells,
  predictionColumns,
} from './tables.js';

type Cell = string | number;

/** A table, padded so that it also reads well unrendered; all but the first `textColumns` are aligned to the right. */
function table(header: readonly string[], rows: readonly (readonly Cell[])[], textColumns: number): string {
  const lines = [header, ...rows].map((cells) => cells.map((cell) => String(cell).replaceAll('|', '\\|')));
  const widths = header.map((_, index) => Math.max(3, ...lines.map((cells) => cells[index]!.length)));
  const rule = widths.map((width, index) => (index < textColumns ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`));
  const pad = (cell: string, index: number) =>
    index < textColumns ? cell.padEnd(widths[index]!) : cell.padStart(widths[index]!);
  return [lines[0]!.map(pad), rule, ...lines.slice(1).map((cells) => cells.map(pad))]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n');
}

export function tracesSentence({ traces }: ReportData): string {
  const rounds = traces.rounds.map(({ round, asked, correct }) => `round ${round}: ${correct} of ${asked}`).join(', ');
  return (
    `${figure(traces.correct)} of ${figure(traces.questions)} questions answered correctly (${rounds}); ` +
    `reasoning ${figure(mean(traces.characters))} characters on average, response ${figure(mean(traces.tokens), 1)} tokens.` +
    (traces.failures === '' ? '' : ` Failed attempts: ${traces.failures}.`)
  );
}

/** The main table and what it says, as printed at the end of a run. */
export function renderArmTable(data: ReportData): string {
  return `${table(armColumns, armCells(data), 3)}\n\n${verdicts(data).join('\n')}\n`;
}

export function renderMarkdown(data: ReportData): string {
  const comparisons = comparisonCells(data);
  const gaps = gapCells(data);
  const predictions = predictionCells(data);
  const sections = [
    `# ${data.title}`,
    data.settings.map(([name, value]) => `- ${name}: ${value}`).join('\n'),
    '## Arms',
    renderArmTable(data).trim(),
    armNote,
    ...(gaps.length === 0 ? [] : ['## By dataset', table(gapColumns(data), gaps, 2), gapNote]),
    '## Traces',
    tracesSentence(data),
    table(datasetColumns(data), datasetCells(data), 1),
    '## Compression',
    table(compressionColumns, compressionCells(data), 1),
    data.compressors
      .filter(({ failures }) => failures !== '')
      .map(({ name, failures }) => `Not usable, ${name}: ${failures}.`)
      .join('\n'),
    '## Paired comparisons',
    comparisons.length === 0 ? 'A single arm: nothing to compare.' : table(comparisonColumns, comparisons, 3),
    ...(comparisons.length === 0 ? [] : [comparisonNote]),
    '## Costs',
    table(costColumns(data), costCells(data), 1),
    costNote(data),
    ...(predictions.length === 0
      ? []
      : ['## What was expected', table(predictionColumns, predictions, 1), data.prediction!.basis]),
  ];
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

export const armNote =
  'Accuracy with the standard error of its mean. Train tokens: trained tokens of one epoch. Tokens: completion length, over all ' +
  'responses and without those cut off. Reasoning: the think block; of the untrained student, the whole response. ' +
  'Acc / 1k tokens: accuracy ÷ mean completion tokens × 1000.';

export const gapNote = 'Gap: percentage points above or below the raw arm of the same student.';

export const comparisonNote =
  'Differences in percentage points on the same questions, with paired bootstrap intervals (2,000 resamples). p: McNemar’s exact ' +
  'test, two-sided; Holm’s correction within a student’s arms, and apart from that over the comparisons with the untrained student.';

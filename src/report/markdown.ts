/** The report as Markdown, with the paper's columns. */
import type { ReportData } from './report_data.js';
import { mean } from './statistics.js';
import { verdicts } from './summary.js';
import {
  armTable,
  comparisonTable,
  compressionTable,
  costNote,
  costTable,
  datasetTable,
  figure,
  gapTable,
  predictionTable,
  type Table,
} from './tables.js';

/** A table, padded so that it also reads well unrendered. */
function table({ columns, rows, textColumns }: Table): string {
  const lines = [columns, ...rows].map((cells) => cells.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = columns.map((_, index) => Math.max(3, ...lines.map((cells) => cells[index]!.length)));
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
  return `${table(armTable(data))}\n\n${verdicts(data).join('\n')}\n`;
}

export function renderMarkdown(data: ReportData): string {
  const [gaps, comparisons, predictions] = [gapTable(data), comparisonTable(data), predictionTable(data)];
  const sections = [
    `# ${data.title}`,
    data.settings.map(([name, value]) => `- ${name}: ${value}`).join('\n'),
    '## Arms',
    renderArmTable(data).trim(),
    armNote,
    ...(gaps.rows.length === 0 ? [] : ['## By dataset', table(gaps), gapNote]),
    '## Traces',
    tracesSentence(data),
    table(datasetTable(data)),
    '## Compression',
    table(compressionTable(data)),
    data.compressors
      .filter(({ failures }) => failures !== '')
      .map(({ name, failures }) => `Not usable, ${name}: ${failures}.`)
      .join('\n'),
    '## Paired comparisons',
    comparisons.rows.length === 0 ? 'A single arm: nothing to compare.' : table(comparisons),
    ...(comparisons.rows.length === 0 ? [] : [comparisonNote]),
    '## Costs',
    table(costTable(data)),
    costNote(data),
    ...(predictions.rows.length === 0 ? [] : ['## What was expected', table(predictions), data.prediction!.basis]),
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

/** The report as Markdown, with the paper's columns. */
import type { ReportData } from './report_data.js';
import { mean } from './statistics.js';
import { compareArms, formatP, summariseArm, summariseCompression, verdicts } from './summary.js';

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

const integer = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** A figure with so many decimals; – where there is none. */
export function figure(value: number, decimals = 0): string {
  if (!Number.isFinite(value)) return '–';
  return decimals === 0 ? integer.format(value) : value.toFixed(decimals);
}

export const armColumns = [
  'Student',
  'Method',
  'Data',
  'Accuracy',
  '± SE',
  'n',
  'Train tokens',
  'Train s',
  'Tokens (all)',
  'Tokens (excl. trunc.)',
  'Trunc. rate',
  'Med. reason. chars',
  'Med. reason. tokens',
  'Acc / 1k tokens',
] as const;

/** One row per student and arm, in the order of `armColumns`. */
export function armCells(data: ReportData): string[][] {
  return data.students.flatMap((student) =>
    student.arms.map((arm) => {
      const summary = summariseArm(arm.outcomes);
      return [
        student.name,
        arm.untrained ? '–' : student.method === 'lora' ? 'LoRA' : 'Full',
        arm.arm,
        figure(summary.accuracy, 3),
        figure(summary.standardError, 3),
        figure(summary.count),
        figure(arm.training?.tokens ?? Number.NaN),
        figure(arm.training?.seconds ?? Number.NaN, 1),
        figure(summary.meanTokens, 1),
        figure(summary.meanTokensFinished, 1),
        figure(summary.truncationRate, 3),
        figure(summary.medianReasoningCharacters),
        figure(summary.medianReasoningTokens),
        figure(summary.accuracyPerThousandTokens, 3),
      ];
    }),
  );
}

export const compressionColumns = [
  'Compressor',
  'Traces',
  'Usable',
  'Avg. chars',
  'Avg. tokens',
  'Mean ratio',
  'Median ratio',
];

export function compressionCells(data: ReportData): string[][] {
  return data.compressors.map((compressor) => {
    const summary = summariseCompression(compressor);
    return [
      compressor.name,
      figure(compressor.traces),
      figure(compressor.usable),
      figure(summary.meanCharacters),
      figure(summary.meanTokens, 1),
      figure(summary.meanRatio, 3),
      figure(summary.medianRatio, 3),
    ];
  });
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
  const comparisons = data.students.flatMap(compareArms).map((pair) => {
    const { student, a, b, onlyA, onlyB, p, adjusted, significant } = pair;
    return [student, a, b, onlyA, onlyB, formatP(p), formatP(adjusted), significant ? 'yes' : 'no'];
  });
  const sections = [
    `# ${data.title}`,
    data.settings.map(([name, value]) => `- ${name}: ${value}`).join('\n'),
    '## Arms',
    renderArmTable(data).trim(),
    'Accuracy with the standard error of its mean. Train tokens: trained tokens of one epoch. Tokens: completion length, over all ' +
      'responses and without those cut off. Reasoning: the think block; of the untrained student, the whole response. ' +
      'Acc / 1k tokens: accuracy ÷ mean completion tokens × 1000.',
    '## Traces',
    tracesSentence(data),
    '## Compression',
    table(compressionColumns, compressionCells(data), 1),
    data.compressors
      .filter(({ failures }) => failures !== '')
      .map(({ name, failures }) => `Not usable, ${name}: ${failures}.`)
      .join('\n'),
    '## Paired comparisons',
    comparisons.length === 0
      ? 'A single arm: nothing to compare.'
      : table(['Student', 'A', 'B', 'only A right', 'only B right', 'p', 'p (Holm)', 'significant'], comparisons, 3),
    '## Costs',
    table(
      ['Stage', 'Seconds', 'Tokens', 'Tokens/s'],
      data.costs.map(({ stage, seconds, tokens }) => [
        stage,
        figure(seconds, 1),
        figure(tokens),
        tokens === 0 ? '–' : figure(tokens / seconds),
      ]),
      1,
    ),
  ];
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

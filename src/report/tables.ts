/** The cells of a report's tables, the same in HTML, Markdown and LaTeX. */
import { addExpected, type Expected } from './expected.js';
import type { ReportData, StudentReport } from './report_data.js';
import { mean } from './statistics.js';
import { compareArms, formatP, summariseArm, summariseCompression } from './summary.js';

/** The first `textColumns` columns hold text, the others figures. */
export interface Table {
  columns: readonly string[];
  rows: string[][];
  textColumns: number;
}

const integer = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** A figure with so many decimals; – where there is none. */
export function figure(value: number, decimals = 0): string {
  if (!Number.isFinite(value)) return '–';
  return decimals === 0 ? integer.format(value) : value.toFixed(decimals);
}

/** Three significant digits, for figures of any size. */
export function significant(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  return Math.abs(value) >= 100 ? figure(value) : String(Number(value.toPrecision(3)));
}

const armColumns = [
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

export function methodName({ method }: StudentReport, untrained: boolean): string {
  if (untrained) return '–';
  return method === 'lora' ? 'LoRA' : 'Full';
}

/** One row per student and arm. */
export function armTable(data: ReportData): Table {
  const rows = data.students.flatMap((student) =>
    student.arms.map((arm) => {
      const summary = summariseArm(arm.outcomes);
      return [
        student.name,
        methodName(student, arm.untrained),
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
  return { columns: armColumns, rows, textColumns: 3 };
}

const compressionColumns = [
  'Compressor',
  'Traces',
  'Usable',
  'Avg. chars',
  'Avg. tokens',
  'Mean ratio',
  'Median ratio',
] as const;

export function compressionTable(data: ReportData): Table {
  const rows = data.compressors.map((compressor) => {
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
  return { columns: compressionColumns, rows, textColumns: 1 };
}

/** Per dataset, as in the paper's appendices A and B: traces, and what each compressor made of them. */
export function datasetTable({ traces, compressors }: ReportData): Table {
  const each = compressors.flatMap(({ name }) => [`${name}: chars`, `${name}: tokens`, `${name}: ratio`]);
  const columns = ['Dataset', 'Asked', 'Correct', 'Avg. reason. chars', 'Avg. tokens', ...each];
  const rows = traces.asked.map(({ dataset, questions }) => {
    const of = <T>(datasets: readonly string[], values: readonly T[]) =>
      values.filter((_, index) => datasets[index] === dataset);
    const characters = of(traces.datasets, traces.characters);
    return [
      dataset,
      figure(questions),
      figure(characters.length),
      figure(mean(characters)),
      figure(mean(of(traces.datasets, traces.tokens))),
      ...compressors.flatMap((compressor) => {
        const after = of(compressor.datasets, compressor.characters);
        const before = of(compressor.datasets, compressor.originalCharacters);
        return [
          figure(mean(after)),
          figure(mean(of(compressor.datasets, compressor.tokens))),
          figure(mean(after.map((length, index) => length / before[index]!)), 3),
        ];
      }),
    ];
  });
  return { columns, rows, textColumns: 1 };
}

/** The datasets of the held-out questions, in the order of their first question. */
function evaluatedDatasets({ students }: ReportData): string[] {
  return [...new Set(students.flatMap(({ arms }) => arms.flatMap(({ outcomes }) => outcomes.map((o) => o.dataset))))];
}

/**
 * Accuracy by dataset, with its distance from the raw arm of the same student in points (the paper's §6.4). Empty when there
 * is one dataset: the main table says it all.
 */
export function gapTable(data: ReportData): Table {
  const datasets = evaluatedDatasets(data);
  const columns = ['Student', 'Data', ...datasets.flatMap((dataset) => [dataset, `± SE`, 'gap'])];
  if (datasets.length < 2) return { columns, rows: [], textColumns: 2 };
  const rows = data.students.flatMap((student) => {
    const of = (arm: StudentReport['arms'][number], dataset: string) =>
      summariseArm(arm.outcomes.filter((outcome) => outcome.dataset === dataset));
    const raw = student.arms.find(({ arm }) => arm === 'raw');
    return student.arms.map((arm) => [
      student.name,
      arm.arm,
      ...datasets.flatMap((dataset) => {
        const { accuracy, standardError } = of(arm, dataset);
        const gap = raw === undefined || raw === arm ? Number.NaN : 100 * (accuracy - of(raw, dataset).accuracy);
        return [figure(accuracy, 3), figure(standardError, 3), formatGap(gap)];
      }),
    ]);
  });
  return { columns, rows, textColumns: 2 };
}

/** In percentage points. */
export function formatGap(points: number): string {
  if (!Number.isFinite(points)) return '–';
  return `${points > 0 ? '+' : points < 0 ? '−' : ''}${Math.abs(points).toFixed(1)}`;
}

const comparisonColumns = [
  'Student',
  'A',
  'B',
  'A − B',
  '95 % interval',
  'only A right',
  'only B right',
  'p',
  'p (Holm)',
  'significant',
] as const;

export function comparisonTable(data: ReportData): Table {
  const rows = data.students
    .flatMap(compareArms)
    .map((pair) => [
      pair.student,
      pair.a,
      pair.b,
      formatGap(100 * pair.difference),
      `${formatGap(100 * pair.interval[0])} … ${formatGap(100 * pair.interval[1])}`,
      String(pair.onlyA),
      String(pair.onlyB),
      formatP(pair.p),
      formatP(pair.adjusted),
      pair.significant ? 'yes' : 'no',
    ]);
  return { columns: comparisonColumns, rows, textColumns: 3 };
}

/** A line per stage, a line per arm with what only it needs, and all of it. */
export function costTable({ costs, factors }: ReportData): Table {
  const columns = [
    'Stage',
    'Tokens in',
    'Tokens out',
    'Seconds',
    `${factors.device}-hours`,
    'Tokens/s',
    'Wh',
    'g CO₂e',
  ];
  const line = (name: string, rows: ReportData['costs']): string[] => {
    const sum = (value: (cost: ReportData['costs'][number]) => number) =>
      rows.reduce((total, cost) => total + value(cost), 0);
    const [tokens, seconds] = [sum((cost) => cost.tokens), sum((cost) => cost.seconds)];
    const kilowattHours = sum((cost) => cost.kilowattHours);
    return [
      name,
      figure(sum((cost) => cost.promptTokens)),
      figure(tokens),
      figure(seconds, 1),
      significant(sum((cost) => cost.deviceSeconds) / 3600),
      tokens === 0 || seconds === 0 ? '–' : figure(tokens / seconds),
      `${significant(kilowattHours * 1000)}${rows.some((cost) => cost.measured) ? ' (measured)' : ''}`,
      significant(kilowattHours * factors.gramsPerKwh),
    ];
  };
  const arms = [...new Set(costs.flatMap(({ arm }) => arm ?? []))];
  const byArm = arms.map((name) =>
    line(
      `arm ${name}`,
      costs.filter(({ arm }) => arm === name),
    ),
  );
  const rows = [...costs.map((cost) => line(cost.stage, [cost])), ...byArm, line('all', costs)];
  return { columns, rows, textColumns: 1 };
}

/** How energy and carbon came about, with the factors. */
export function costNote({ factors, costs }: ReportData): string {
  const { watts, pue, gramsPerKwh, device } = factors;
  const estimated = costs.some(({ measured, deviceSeconds }) => !measured && deviceSeconds > 0);
  const energy = estimated
    ? `Energy that the machine does not report is reckoned as ${watts} W × ${device}-hours × PUE ${pue}`
    : `Energy as the machine reports it, × PUE ${pue}`;
  return `${energy}; carbon at ${gramsPerKwh} g CO₂e per kWh. Tokens in: prompts, or what went through the model in training; out: written or trained. An arm: the stages that no other arm needs.`;
}

const predictionColumns = [
  'Stage',
  'Tokens expected',
  'between',
  'Tokens',
  'Error',
  'Seconds expected',
  'between',
  'Seconds',
  'Error',
] as const;

interface Compared {
  expected: Expected;
  actual: number;
}

function compared({ expected: { expected, low, high }, actual }: Compared, decimals: number): string[] {
  const error = actual === 0 ? '–' : `${formatGap((100 * (expected - actual)) / actual)} %`;
  return [
    figure(expected, decimals),
    `${figure(low, decimals)}–${figure(high, decimals)}`,
    figure(actual, decimals),
    error,
  ];
}

/** What was expected of a stage, or of all together, beside what came. */
export interface PredictionLine {
  name: string;
  tokens: Compared;
  seconds: Compared;
}

/** The last line is the sum; there are none where nothing was predicted. */
export function predictionLines({ prediction }: ReportData): PredictionLine[] {
  if (prediction === null) return [];
  const { stages } = prediction;
  const of = (what: 'tokens' | 'seconds', some: typeof stages): Compared => ({
    expected: addExpected(some.map(({ predicted }) => predicted[what])),
    actual: some.reduce((total, { actual }) => total + actual[what], 0),
  });
  const line = (name: string, some: typeof stages) => ({
    name,
    tokens: of('tokens', some),
    seconds: of('seconds', some),
  });
  return [...stages.map((stage) => line(stage.stage, [stage])), line('all', stages)];
}

export function predictionTable(data: ReportData): Table {
  const rows = predictionLines(data).map(({ name, tokens, seconds }) => [
    name,
    ...compared(tokens, 0),
    ...compared(seconds, 1),
  ]);
  return { columns: predictionColumns, rows, textColumns: 1 };
}

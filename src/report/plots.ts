/** The plots of a report. */
import { bin, max, quantile } from 'd3-array';
import type { ReportData, StudentReport } from './report_data.js';
import { summariseArm } from './summary.js';
import { element, escapeXml, type Frame, plot, polyline } from './svg.js';

/** A colour per arm, the same in all plots; the page defines them for light and dark. */
export function armColors(data: ReportData): (arm: string) => string {
  const arms = [...new Set(data.students.flatMap((student) => student.arms.map(({ arm }) => arm)))];
  const trained = ['raw', ...data.compressors.map(({ name }) => name), 'truncated', 'answer-only'];
  const order = [...trained, ...arms.filter((arm) => !trained.includes(arm))];
  return (arm) => `var(--arm-${(order.indexOf(arm) + paletteSize) % paletteSize})`;
}

export const paletteSize = 8;

export interface LegendEntry {
  label: string;
  color: string;
}

export interface Figure {
  svg: string;
  legend: LegendEntry[];
}

/** Accuracy with its standard error against median reasoning tokens, one point per arm (the paper's Figure 4). */
export function accuracyPlot(student: StudentReport, color: (arm: string) => string): Figure {
  const points = student.arms.map((arm) => ({ arm: arm.arm, ...summariseArm(arm.outcomes) }));
  const longest = Math.max(10, ...points.map((point) => point.medianReasoningTokens));
  const bounds = points.flatMap(({ accuracy, standardError }) => [accuracy - standardError, accuracy + standardError]);
  const svg = plot(
    {
      title: `Accuracy against median reasoning tokens, ${student.name}`,
      xLabel: 'median reasoning tokens',
      yLabel: 'accuracy ± standard error',
      xDomain: [0, longest * 1.08],
      yDomain: [Math.max(0, Math.min(...bounds) - 0.05), Math.min(1, Math.max(...bounds) + 0.05)],
    },
    (frame) => points.map((point) => accuracyMark(frame, point, color(point.arm))).join(''),
  );
  return { svg, legend: points.map(({ arm }) => ({ label: arm, color: color(arm) })) };
}

function accuracyMark(
  { x, y }: Frame,
  point: { arm: string; accuracy: number; standardError: number; medianReasoningTokens: number },
  color: string,
): string {
  const [centre, low, high] = [
    x(point.medianReasoningTokens),
    y(point.accuracy - point.standardError),
    y(point.accuracy + point.standardError),
  ];
  const stroke = { stroke: color, 'stroke-width': 1.6 };
  const tip = `${point.arm}: ${point.accuracy.toFixed(3)} ± ${point.standardError.toFixed(3)}, ${point.medianReasoningTokens} tokens`;
  return element(
    'g',
    {},
    element('title', {}, escapeXml(tip)) +
      element('line', { x1: centre, x2: centre, y1: low, y2: high, ...stroke }) +
      [low, high].map((at) => element('line', { x1: centre - 5, x2: centre + 5, y1: at, y2: at, ...stroke })).join('') +
      element('circle', { cx: centre, cy: y(point.accuracy), r: 5, fill: color }),
  );
}

/** Training loss of every arm of a student; null when no arm has a step. */
export function lossPlot(student: StudentReport, color: (arm: string) => string): Figure | null {
  const arms = student.arms.filter(({ loss }) => loss.length > 0);
  if (arms.length === 0) return null;
  const losses = arms.flatMap(({ loss }) => loss.map((row) => row.loss)).filter(Number.isFinite);
  const steps = Math.max(...arms.map(({ loss }) => loss.at(-1)!.step));
  const svg = plot(
    {
      title: `Training loss, ${student.name}`,
      xLabel: 'optimizer step',
      yLabel: 'loss (nats per token)',
      xDomain: [1, Math.max(2, steps)],
      yDomain: [0, Math.max(max(losses) ?? 0, 0.1)],
    },
    (frame) =>
      arms
        .map(({ arm, loss }) =>
          polyline(
            frame,
            loss.map((row) => [row.step, row.loss] as const),
            color(arm),
          ),
        )
        .join(''),
  );
  return { svg, legend: arms.map(({ arm }) => ({ label: arm, color: color(arm) })) };
}

/** Lengths of the traces before and after compression, as shares of the traces (the paper's Figure 2). */
export function lengthPlot(data: ReportData, color: (arm: string) => string): Figure | null {
  const first = data.compressors[0];
  if (first === undefined || first.originalTokens.length === 0) return null;
  const series = [
    { arm: 'raw', lengths: first.originalTokens },
    ...data.compressors.map(({ name, tokens }) => ({ arm: name, lengths: tokens })),
    ...(data.truncated === null ? [] : [{ arm: 'truncated', lengths: data.truncated }]),
  ].filter(({ lengths }) => lengths.length > 0);
  // The longest 1 % would squeeze the rest into a corner; they are counted in the last bin.
  const end = Math.max(10, ...series.map(({ lengths }) => quantile(lengths, 0.99) ?? 0));
  const binned = series.map(({ arm, lengths }) => {
    const bins = bin().domain([0, end]).thresholds(20)(lengths.map((length) => Math.min(length, end)));
    return { arm, bins: bins.map(({ x0, x1, length }) => ({ x0: x0!, x1: x1!, share: length / lengths.length })) };
  });
  const svg = plot(
    {
      title: 'Lengths of traces before and after compression',
      xLabel: 'tokens of the reasoning',
      yLabel: 'share of traces',
      xDomain: [0, end],
      yDomain: [0, max(binned, ({ bins }) => max(bins, ({ share }) => share)) ?? 1],
      yFormat: (value) => `${Math.round(value * 100)}%`,
    },
    (frame) => {
      const steps = (bins: { x0: number; x1: number; share: number }[]) => [
        [bins[0]!.x0, 0] as const,
        ...bins.flatMap(
          ({ x0, x1, share }) =>
            [
              [x0, share],
              [x1, share],
            ] as const,
        ),
      ];
      // Truncated traces are as long as compressed ones by construction: dashed, so that both are seen.
      return binned.map(({ arm, bins }) => polyline(frame, steps(bins), color(arm), arm === 'truncated')).join('');
    },
  );
  return { svg, legend: binned.map(({ arm }) => ({ label: arm, color: color(arm) })) };
}

/** By dataset, each arm's accuracy less the raw arm's, in points with the standard error of the arm's (the paper's §6.4). */
export function gapPlot(student: StudentReport, color: (arm: string) => string): Figure | null {
  const raw = student.arms.find(({ arm }) => arm === 'raw');
  const arms = student.arms.filter((arm) => arm !== raw && !arm.untrained);
  const datasets = [...new Set(student.arms.flatMap(({ outcomes }) => outcomes.map(({ dataset }) => dataset)))];
  if (raw === undefined || arms.length === 0 || datasets.length < 2) return null;
  const of = (arm: StudentReport['arms'][number], dataset: string) =>
    summariseArm(arm.outcomes.filter((outcome) => outcome.dataset === dataset));
  const bars = datasets.flatMap((dataset, row) =>
    arms.map((arm, index) => {
      const { accuracy, standardError } = of(arm, dataset);
      const gap = 100 * (accuracy - of(raw, dataset).accuracy);
      return { arm: arm.arm, row: row + (index + 0.75) / (arms.length + 0.5), gap, error: 100 * standardError };
    }),
  );
  const ends = bars.flatMap(({ gap, error }) => [gap - error, gap + error]);
  const svg = plot(
    {
      title: `Accuracy by dataset less that of the raw arm, ${student.name}`,
      xLabel: 'points above or below raw',
      yLabel: '',
      xDomain: [Math.min(0, ...ends), Math.max(0, ...ends)],
      yDomain: [datasets.length, 0],
      rows: datasets,
    },
    (frame) => {
      const zero = element('line', {
        class: 'axis',
        x1: frame.x(0),
        x2: frame.x(0),
        y1: frame.y(0),
        y2: frame.y(datasets.length),
      });
      return zero + bars.map((bar) => gapMark(frame, bar, color(bar.arm))).join('');
    },
  );
  return { svg, legend: arms.map(({ arm }) => ({ label: arm, color: color(arm) })) };
}

function gapMark(
  { x, y }: Frame,
  { arm, row, gap, error }: { arm: string; row: number; gap: number; error: number },
  color: string,
): string {
  const at = y(row);
  return element(
    'g',
    {},
    element('title', {}, escapeXml(`${arm}: ${gap.toFixed(1)} ± ${error.toFixed(1)}`)) +
      element('line', { x1: x(0), x2: x(gap), y1: at, y2: at, stroke: color, 'stroke-width': 6 }) +
      element('line', { x1: x(gap - error), x2: x(gap + error), y1: at, y2: at, stroke: color, 'stroke-width': 1.6 }),
  );
}

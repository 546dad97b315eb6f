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
      yDomain: [0, Math.max(...losses, 0.1)],
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

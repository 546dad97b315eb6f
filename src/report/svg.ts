/** SVG as text: a frame with axes, and marks in its coordinates. Colours are CSS variables, so a plot follows the page's theme. */
import { type ScaleLinear, scaleLinear } from 'd3-scale';

export function escapeXml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

type Attributes = Record<string, string | number>;

/** An element; numbers are rounded to a hundredth of a pixel. */
export function element(name: string, attributes: Attributes, content = ''): string {
  const list = Object.entries(attributes).map(([key, value]) => {
    const text = typeof value === 'number' ? String(Math.round(value * 100) / 100) : escapeXml(value);
    return ` ${key}="${text}"`;
  });
  return `<${name}${list.join('')}>${content}</${name}>`;
}

export interface Frame {
  x: ScaleLinear<number, number>;
  y: ScaleLinear<number, number>;
}

export interface PlotOptions {
  /** Read to those who cannot see the plot. */
  title: string;
  xLabel: string;
  yLabel: string;
  xDomain: [number, number];
  yDomain: [number, number];
  xFormat?: (value: number) => string;
  yFormat?: (value: number) => string;
  /** Names of the rows between whole numbers of y, in place of ticks. */
  rows?: readonly string[];
}

const width = 480;
const height = 290;
const margin = { top: 12, right: 14, bottom: 44, left: 60 };

/** A plot of 480 × 290 that scales with the page; its text stays readable on a phone. @param marks draws inside the frame */
export function plot(options: PlotOptions, marks: (frame: Frame) => string): string {
  const x = scaleLinear(options.xDomain, [margin.left, width - margin.right]);
  const yScale = scaleLinear(options.yDomain, [height - margin.bottom, margin.top]);
  const y = options.rows === undefined ? yScale.nice(5) : yScale;
  const [left, right] = [margin.left, width - margin.right];
  const [top, bottom] = [margin.top, height - margin.bottom];
  const xFormat = options.xFormat ?? x.tickFormat(6);
  const yFormat = options.yFormat ?? y.tickFormat(5);
  const parts = [
    ...(options.rows ?? []).flatMap((name, row) => [
      element('line', { class: 'grid', x1: left, x2: right, y1: y(row), y2: y(row) }),
      element('text', { x: left + 4, y: y(row) + 13 }, escapeXml(name)),
    ]),
    ...(options.rows === undefined ? y.ticks(5) : []).flatMap((tick) => [
      element('line', { class: 'grid', x1: left, x2: right, y1: y(tick), y2: y(tick) }),
      element('text', { x: left - 8, y: y(tick) + 4, 'text-anchor': 'end' }, escapeXml(yFormat(tick))),
    ]),
    ...x
      .ticks(6)
      .map((tick) =>
        element('text', { x: x(tick), y: bottom + 18, 'text-anchor': 'middle' }, escapeXml(xFormat(tick))),
      ),
    element('line', { class: 'axis', x1: left, x2: right, y1: bottom, y2: bottom }),
    element('text', { x: (left + right) / 2, y: height - 6, 'text-anchor': 'middle' }, escapeXml(options.xLabel)),
    element(
      'text',
      { transform: `translate(13 ${(top + bottom) / 2}) rotate(-90)`, 'text-anchor': 'middle' },
      escapeXml(options.yLabel),
    ),
    marks({ x, y }),
  ];
  return element(
    'svg',
    {
      viewBox: `0 0 ${width} ${height}`,
      role: 'img',
      'aria-label': options.title,
      xmlns: 'http://www.w3.org/2000/svg',
    },
    parts.join(''),
  );
}

/** A line through points; where one is not a number, a gap. */
export function polyline(
  frame: Frame,
  points: readonly (readonly [number, number])[],
  color: string,
  dashed = false,
): string {
  let pen = 'M';
  const path: string[] = [];
  for (const [x, y] of points) {
    if (Number.isFinite(x) && Number.isFinite(y)) {
      path.push(`${pen}${frame.x(x).toFixed(1)} ${frame.y(y).toFixed(1)}`);
      pen = 'L';
    } else pen = 'M';
  }
  const dash = dashed ? { 'stroke-dasharray': '5 4' } : {};
  return element('path', { class: 'series', d: path.join(''), stroke: color, ...dash });
}

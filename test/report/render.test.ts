import { expect, it } from 'vitest';
import { renderHtml } from '../../src/report/html.js';
import { renderArmTable, renderMarkdown } from '../../src/report/markdown.js';
import type { ArmReport } from '../../src/report/report_data.js';
import { emptyReport } from './example_report.js';

function arm(name: string, accuracy: number, loss: number[] = []): ArmReport {
  const outcomes = Array.from({ length: 10 }, (_, index) => ({
    id: `q${index}`,
    dataset: index < 6 ? 'sums' : 'products',
    correct: index < accuracy * 10,
    truncated: index === 9,
    completionTokens: 20,
    reasoningCharacters: 40,
    reasoningTokens: name === 'raw' ? 12 : 0,
  }));
  const training = name === 'untrained' ? null : { rows: 2, tokens: 1234, epochs: 1, seconds: 3.25, finalLoss: 0.5 };
  return {
    arm: name,
    untrained: name === 'untrained',
    training,
    loss: loss.map((value, index) => ({ step: index + 1, loss: value })),
    outcomes,
  };
}

const report = emptyReport([
  {
    name: 'small',
    model: 'm',
    method: 'lora',
    arms: [arm('untrained', 0.2), arm('raw', 0.5, [2, 1, Number.NaN, 0.5]), arm('answer-only', 1, [1])],
  },
]);

it('renders the arms with the paper’s columns', () => {
  const table = renderArmTable(report);
  const cells = table.split('\n').map((line) => line.split('|').map((cell) => cell.trim()));
  expect(cells[2]!.slice(1, 5)).toEqual(['small', '–', 'untrained', '0.200']);
  expect(cells[3]!.slice(1, -1)).toEqual([
    'small',
    'LoRA',
    'raw',
    '0.500',
    '0.167',
    '10',
    '1,234',
    '3.3',
    '20.0',
    '20.0',
    '0.100',
    '40',
    '12',
    '25.000',
  ]);
  expect(table).toContain('differences not significant');
  expect(
    new Set(
      table
        .split('\n')
        .slice(0, 5)
        .map((line) => line.length),
    ).size,
  ).toBe(1);
});

it('renders every section in Markdown', () => {
  const text = renderMarkdown(report);
  for (const heading of ['# example', '## Arms', '## Traces', '## Compression', '## Paired comparisons', '## Costs']) {
    expect(text).toContain(`${heading}\n`);
  }
  expect(text).toContain('| short      |      2 |      2 |         45 |        11.0 |      0.408 |        0.408 |');
  expect(text).toMatch(/round 1: 2 of 2/);
});

it('renders one page that needs nothing else and trusts no text', () => {
  const page = renderHtml(report);
  expect(page.match(/<script/g)).toHaveLength(1);
  expect(page).not.toMatch(/<link|src=|@import|url\(/);
  expect(page.replace('http://www.w3.org/2000/svg', '')).toContain('&#60;script&#62;');
  expect(page.match(/https?:\/\/(?!www\.w3\.org\/2000\/svg)/g)).toBeNull();
  expect(page).toContain('prefers-color-scheme: dark');
  expect(page).toContain('name="viewport"');
  expect(page.match(/<svg /g)).toHaveLength(4);
  expect(page).not.toMatch(/NaN|undefined|Infinity/);
  const colors = [...page.matchAll(/var\(--(arm-\d+)\)/g)].map((match) => match[1]!);
  expect(colors.every((name) => page.includes(`--${name}: #`))).toBe(true);
});

it('has balanced tags', () => {
  const open: string[] = [];
  for (const [, close, tag, rest] of renderHtml(report)
    .replace(/<script>[\s\S]*<\/script>/, '')
    .matchAll(/<(\/?)([a-z][a-z0-9]*)((?:"[^"]*"|[^">])*)>/g)) {
    if (['meta', 'input'].includes(tag!) || rest!.endsWith('/')) continue;
    if (close === '') open.push(tag!);
    else expect(open.pop()).toBe(tag);
  }
  expect(open).toEqual([]);
});

it('renders a study without losses, compressions or truncated traces', () => {
  const bare = emptyReport([{ name: 's', model: 'm', method: 'full', arms: [arm('raw', 0)] }]);
  bare.truncated = null;
  bare.compressors[0]!.tokens = [];
  bare.compressors[0]!.characters = [];
  bare.compressors[0]!.originalTokens = [];
  expect(renderHtml(bare)).not.toMatch(/NaN|undefined|Infinity/);
  expect(renderMarkdown(bare)).toContain('nothing to compare');
});

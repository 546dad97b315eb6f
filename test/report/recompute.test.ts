// The figures of a whole study's report, computed again from the rows on disk in the plainest way.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { CompressionRow } from '../../src/pipeline/compress.js';
import type { EvaluationRow } from '../../src/pipeline/evaluate.js';
import { runStudy } from '../../src/pipeline/run.js';
import type { TraceRow } from '../../src/pipeline/traces.js';
import { readRows } from '../cli/command.js';
import { FakeServices, fakeStudy } from '../pipeline/fake_services.js';

let folder = '';
let markdown = '';
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'recompute-'));
  // One student's answers are right more often, so that something is significant; some are cut off.
  const services = new FakeServices({
    complete: ({ messages, sampling }, model) => {
      if (model !== 'student') return undefined;
      const [a, b] = (messages.at(-1)!.content.match(/\d+/g) ?? []).map(Number);
      if (sampling.seed % 7 === 0) return { finishReason: 'length', text: '<think>\nI do not' };
      return sampling.seed % 3 === 0
        ? { text: `<think>\nIt is ${a! + b!}\n</think>\n\nThe answer is ${a! + b!}.` }
        : undefined;
    },
  });
  await runStudy(fakeStudy(folder, 'a'), { services });
  markdown = readFileSync(join(folder, 'a', 'report.md'), 'utf8');
});
afterAll(() => rmSync(folder, { recursive: true }));

/** The cells of the table behind a heading. */
function table(heading: string): string[][] {
  const text = markdown.split(`## ${heading}\n`)[1]!.split('\n## ')[0]!;
  const lines = text.split('\n').filter((line) => line.startsWith('|'));
  return lines.slice(2).map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

const evaluations = (arm: string) => readRows<EvaluationRow>(join(folder, 'a', 'evaluations', 'small', `${arm}.jsonl`));
const arms = ['untrained', 'raw', 'short', 'truncated', 'answer-only'];
const average = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const middle = (values: number[]) => {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
};
const thousands = (value: number) => Math.round(value).toLocaleString('en-US');

it.each(arms)('arm %s', (arm) => {
  const rows = evaluations(arm);
  const cells = table('Arms').find(([, , name]) => name === arm)!;
  const right = rows.map(({ answer, expected }) => Number(answer === expected));
  const accuracy = average(right);
  const variance = right.reduce((sum, value) => sum + (value - accuracy) ** 2, 0) / (rows.length - 1);
  const finished = rows.filter(({ finishReason }) => finishReason !== 'length');
  expect(finished.length).toBeLessThan(rows.length);
  const tokens = average(rows.map(({ completionTokens }) => completionTokens));
  expect(cells.slice(3, 6)).toEqual([
    accuracy.toFixed(3),
    Math.sqrt(variance / rows.length).toFixed(3),
    String(rows.length),
  ]);
  expect(cells.slice(8)).toEqual([
    tokens.toFixed(1),
    average(finished.map(({ completionTokens }) => completionTokens)).toFixed(1),
    (1 - finished.length / rows.length).toFixed(3),
    thousands(middle(rows.map(({ reasoningCharacters }) => reasoningCharacters))),
    thousands(middle(rows.map(({ reasoningTokens }) => reasoningTokens))),
    ((1000 * accuracy) / tokens).toFixed(3),
  ]);
});

it('paired comparisons, with exact p-values and their correction', () => {
  const right = (arm: string) => new Map(evaluations(arm).map(({ id, ok }) => [id, ok]));
  const binomial = (n: number, k: number) => {
    let value = 1n;
    for (let i = 0; i < k; i++) value = (value * BigInt(n - i)) / BigInt(i + 1);
    return value;
  };
  const rows = table('Paired comparisons');
  expect(rows).toHaveLength(6 + 4);
  const ps = rows.map(([, a, b, difference, interval, onlyA, onlyB, p]) => {
    const [first, second] = [right(a!), right(b!)];
    const ids = [...first.keys()];
    const ahead = ids.filter((id) => first.get(id) && !second.get(id)).length;
    const behind = ids.filter((id) => !first.get(id) && second.get(id)).length;
    expect([onlyA, onlyB]).toEqual([String(ahead), String(behind)]);
    const points = (100 * (ahead - behind)) / ids.length;
    expect(Number(difference!.replace('−', '-'))).toBeCloseTo(points, 1);
    const [low, high] = interval!.split(' … ').map((text) => Number(text.replace('−', '-')));
    expect(low! <= points && points <= high!).toBe(true);
    let tail = 0n;
    for (let k = 0; k <= Math.min(ahead, behind); k++) tail += binomial(ahead + behind, k);
    const exact = Math.min(1, (2 * Number(tail)) / 2 ** (ahead + behind));
    expect(Number(p)).toBeCloseTo(exact, 3);
    return exact;
  });
  for (const [from, to] of [
    [0, 6],
    [6, 10],
  ] as const) {
    const family = ps.slice(from, to);
    for (const [index, p] of family.entries()) {
      // Holm: the largest of p · (rank from the end) over all that are not larger.
      const before = family.filter((other) => other < p || other === p);
      const adjusted = Math.max(
        ...before.map((other) => Math.min(1, other * (family.length - family.filter((third) => third < other).length))),
      );
      const [shown, significant] = rows[from + index]!.slice(8);
      expect(Number(shown)).toBeCloseTo(adjusted, 3);
      expect(significant).toBe(adjusted < 0.05 ? 'yes' : 'no');
    }
  }
});

it('traces, compression, and costs', () => {
  const traces = readRows<TraceRow>(join(folder, 'a', 'traces.jsonl'));
  const correct = traces.filter(({ ok }) => ok);
  expect(markdown).toContain(`${correct.length} of 40 questions answered correctly (round 1: `);
  const compressions = readRows<CompressionRow>(join(folder, 'a', 'compressed', 'short.jsonl'));
  const usable = compressions.filter(({ ok }) => ok);
  const lengths = new Map(correct.map(({ id, reasoning }) => [id, reasoning.length]));
  const ratios = usable.map(({ id, reasoning }) => reasoning.length / lengths.get(id)!);
  expect(table('Compression')[0]).toEqual([
    'short',
    String(correct.length),
    String(usable.length),
    thousands(average(usable.map(({ reasoning }) => reasoning.length))),
    average(usable.map(({ tokens }) => tokens)).toFixed(1),
    average(ratios).toFixed(3),
    middle(ratios).toFixed(3),
  ]);
  const costs = new Map(table('Costs').map(([stage, ...cells]) => [stage, cells]));
  const sum = (rows: { promptTokens: number; completionTokens: number }[]) =>
    [
      rows.reduce((total, { promptTokens }) => total + promptTokens, 0),
      rows.reduce((total, { completionTokens }) => total + completionTokens, 0),
    ].map(thousands);
  expect(costs.get('traces')!.slice(0, 2)).toEqual(sum(traces));
  expect(costs.get('compress short')!.slice(0, 2)).toEqual(sum(compressions));
  for (const arm of arms) expect(costs.get(`evaluate small ${arm}`)!.slice(0, 2)).toEqual(sum(evaluations(arm)));
  expect(readdirSync(join(folder, 'a', 'students', 'small')).sort()).toEqual([...arms.slice(1)].sort());
});

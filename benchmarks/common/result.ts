/** A benchmark's outcome as a Markdown page for people and a JSON file with everything, side by side. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatRates, type Rates } from '../../src/bench/rates.js';
import type { Environment } from './environment.js';

export interface Table {
  readonly title?: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export interface Result {
  /** Names the files. */
  readonly name: string;
  readonly title: string;
  readonly environment: Environment;
  /** What the machine could do, measured during the benchmark; null where nothing is compared with it. */
  readonly rates: Rates | null;
  /** Every setting that the figures depend on. */
  readonly conditions: Readonly<Record<string, unknown>>;
  readonly tables: readonly Table[];
  /** Sentences on how to read the tables. */
  readonly notes: readonly string[];
  /** All measurements. */
  readonly data: unknown;
}

/** Writes NAME.md and NAME.json into `folder` and prints the page. */
export function writeResult(folder: string, result: Result): void {
  mkdirSync(folder, { recursive: true });
  const page = toMarkdown(result);
  const { name, environment, rates, conditions, data } = result;
  const json = JSON.stringify({ name, environment, rates, conditions, data }, withoutPaths, 2);
  writeFileSync(join(folder, `${name}.json`), `${json}\n`);
  writeFileSync(join(folder, `${name}.md`), page);
  console.log(page);
}

export function toMarkdown({ title, environment, rates, conditions, tables, notes }: Result): string {
  const { date, commit, version, cpu, cores, memoryGiB, instructionSets, system, node, loadAverage } = environment;
  const lines = [
    `# ${title}`,
    '',
    `- Machine: ${cpu}, ${cores} cores, ${memoryGiB} GiB, ${instructionSets[0]}; ${system}; load average ${loadAverage.toFixed(2)} before`,
    `- Program: compress-distill ${version}, commit ${commit}; Node ${node}; ${date}`,
    ...(rates ? [`- The machine's rates, measured in the same run: ${formatRates(rates)}`] : []),
    ...Object.entries(conditions).map(([key, value]) => `- ${key}: ${text(value)}`),
  ];
  for (const { title: heading, columns, rows } of tables) {
    lines.push('', ...(heading === undefined ? [] : [`## ${heading}`, '']));
    lines.push(
      `| ${columns.join(' | ')} |`,
      `|${columns.map((_, index) => (index === 0 ? '---' : '---:')).join('|')}|`,
    );
    for (const row of rows) lines.push(`| ${row.join(' | ')} |`);
  }
  if (notes.length > 0) lines.push('', ...notes.map((note) => `- ${note}`));
  return `${lines.join('\n')}\n`;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value, withoutPaths);
}

/** Where things lie on this machine changes no figure and is nobody's business. */
function withoutPaths(key: string, value: unknown): unknown {
  return ['python', 'out', 'path', 'folder'].includes(key) ? undefined : value;
}

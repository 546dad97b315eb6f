import { expect, it } from 'vitest';
import { escapeLatex, renderLatex } from '../../src/report/latex.js';
import { armTable, compressionTable, costTable } from '../../src/report/tables.js';
import { emptyReport } from './example_report.js';

const outcome = (id: string, dataset: string) => ({
  ...{
    id,
    dataset,
    correct: id === 'a',
    truncated: false,
    completionTokens: 20,
    reasoningCharacters: 40,
    reasoningTokens: 12,
  },
});
const arms = ['raw', 'short_1'].map((arm) => ({
  ...{ arm, untrained: false, training: null, loss: [], outcomes: [outcome('a', 'p & q'), outcome('b', 'sums')] },
}));
const report = emptyReport([{ name: 'small', model: 'm', method: 'lora', arms }]);

it('escapes what TeX would obey or print as something else', () => {
  expect(escapeLatex('a_b & 50% #1 {x} $y$ ~^ \\z <|> ± – − ₂')).toBe(
    'a\\_b \\& 50\\% \\#1 \\{x\\} \\$y\\$ \\textasciitilde{}\\textasciicircum{} \\textbackslash{}z \\textless{}\\textbar{}\\textgreater{} $\\pm$ -- $-$ $_2$',
  );
});

it('renders a table that fits as it is', () => {
  expect(renderLatex(report)).toContain(String.raw`\begin{table}
  \centering\small
  \caption{Compression.}
  \begin{tabular}{lrrrrrr}
  \toprule
  Compressor & Traces & Usable & Avg. chars & Avg. tokens & Mean ratio & Median ratio \\
  \midrule
  short & 2 & 2 & 45 & 11.0 & 0.408 & 0.408 \\
  \bottomrule
  \end{tabular}
\end{table}
`);
});

it('holds every cell of every table, in as many columns as are declared, and balanced environments', () => {
  const text = renderLatex(report);
  const tables = text.split('\\begin{table}').slice(1);
  expect(tables).toHaveLength(4);
  for (const table of tables) {
    const [, declared] = /\\begin\{tabular\}\{([lr]+)\}/.exec(table)!;
    const lines = table.split('\n').filter((line) => line.endsWith('\\\\'));
    for (const line of lines) expect(line.split(/(?<!\\)&/)).toHaveLength(declared!.length);
    // A table that is wider than a page is made to fit.
    expect(table.includes('\\resizebox{\\textwidth}')).toBe(declared!.length > 8);
    const depth = [...table.matchAll(/(?<!\\)[{}]/g)].map(([brace]) => (brace === '{' ? 1 : -1));
    expect(depth.reduce((sum, step) => sum + step, 0)).toBe(0);
    expect(depth.reduce(([low, now], step) => [Math.min(low!, now! + step), now! + step], [0, 0])[0]).toBe(0);
  }
  for (const environment of ['table', 'tabular'])
    expect(text.split(`\\begin{${environment}}`)).toHaveLength(text.split(`\\end{${environment}}`).length);
  for (const { columns, rows } of [armTable(report), compressionTable(report), costTable(report)])
    for (const cell of [columns, ...rows].flat()) expect(text).toContain(escapeLatex(cell));
  expect(text).toContain('p \\& q');
});

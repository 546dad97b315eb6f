/** The main tables in LaTeX (booktabs), to be pasted into a paper. */

import type { ReportData } from './report_data.js';
import {
  armCells,
  armColumns,
  compressionCells,
  compressionColumns,
  costCells,
  costColumns,
  gapCells,
  gapColumns,
} from './tables.js';

const special: Record<string, string> = {
  '\\': '\\textbackslash{}',
  '{': '\\{',
  '}': '\\}',
  $: '\\$',
  '&': '\\&',
  '#': '\\#',
  '%': '\\%',
  _: '\\_',
  '^': '\\textasciicircum{}',
  '~': '\\textasciitilde{}',
  '±': '$\\pm$',
  '–': '--',
  '−': '$-$',
  '₂': '$_2$',
};

export function escapeLatex(text: string): string {
  return text.replace(/[\\{}$&#%_^~±–−₂]/g, (character) => special[character]!);
}

function table(
  caption: string,
  header: readonly string[],
  rows: readonly (readonly string[])[],
  textColumns: number,
): string {
  const line = (cells: readonly string[]) => `  ${cells.map(escapeLatex).join(' & ')} \\\\`;
  const columns = header.map((_, index) => (index < textColumns ? 'l' : 'r')).join('');
  return [
    '\\begin{table}',
    '  \\centering\\small',
    `  \\caption{${escapeLatex(caption)}}`,
    `  \\begin{tabular}{${columns}}`,
    '  \\toprule',
    line(header),
    '  \\midrule',
    ...rows.map(line),
    '  \\bottomrule',
    '  \\end{tabular}',
    '\\end{table}',
  ].join('\n');
}

export function renderLatex(data: ReportData): string {
  const gaps = gapCells(data);
  return `${[
    '% Needs \\usepackage{booktabs}.',
    table('Accuracy, training and inference by arm.', armColumns, armCells(data), 3),
    table('Compression.', compressionColumns, compressionCells(data), 1),
    ...(gaps.length === 0 ? [] : [table('Accuracy by dataset.', gapColumns(data), gaps, 2)]),
    table('Costs.', costColumns(data), costCells(data), 1),
  ].join('\n\n')}\n`;
}

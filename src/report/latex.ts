/** The main tables in LaTeX (booktabs), to be pasted into a paper. */

import type { ReportData } from './report_data.js';
import { armTable, compressionTable, costTable, gapTable, type Table } from './tables.js';

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

function table(caption: string, { columns: header, rows, textColumns }: Table): string {
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
  const gaps = gapTable(data);
  return `${[
    '% Needs \\usepackage{booktabs}.',
    table('Accuracy, training and inference by arm.', armTable(data)),
    table('Compression.', compressionTable(data)),
    ...(gaps.rows.length === 0 ? [] : [table('Accuracy by dataset.', gaps)]),
    table('Costs.', costTable(data)),
  ].join('\n\n')}\n`;
}

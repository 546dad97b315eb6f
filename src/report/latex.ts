/** The main tables in LaTeX, to be pasted into a paper: booktabs, and graphicx for tables that are wider than a page. */

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
  '<': '\\textless{}',
  '>': '\\textgreater{}',
  '|': '\\textbar{}',
};

export function escapeLatex(text: string): string {
  return text.replace(/[\\{}$&#%_^~±–−₂<>|]/g, (character) => special[character]!);
}

/** Columns that fit a page side by side. */
const widest = 8;

function table(caption: string, { columns: header, rows, textColumns }: Table): string {
  const line = (cells: readonly string[]) => `  ${cells.map(escapeLatex).join(' & ')} \\\\`;
  const columns = header.map((_, index) => (index < textColumns ? 'l' : 'r')).join('');
  const [begin, end] = header.length > widest ? ['  \\resizebox{\\textwidth}{!}{%', '  }'] : [];
  return [
    '\\begin{table}',
    '  \\centering\\small',
    `  \\caption{${escapeLatex(caption)}}`,
    ...(begin === undefined ? [] : [begin]),
    `  \\begin{tabular}{${columns}}`,
    '  \\toprule',
    line(header),
    '  \\midrule',
    ...rows.map(line),
    '  \\bottomrule',
    '  \\end{tabular}',
    ...(end === undefined ? [] : [end]),
    '\\end{table}',
  ].join('\n');
}

export function renderLatex(data: ReportData): string {
  const gaps = gapTable(data);
  return `${[
    '% Needs \\usepackage{booktabs,graphicx}; names beyond Latin letters need XeLaTeX or LuaLaTeX.',
    table('Accuracy, training and inference by arm.', armTable(data)),
    table('Compression.', compressionTable(data)),
    ...(gaps.rows.length === 0 ? [] : [table('Accuracy by dataset.', gaps)]),
    table('Costs.', costTable(data)),
  ].join('\n\n')}\n`;
}

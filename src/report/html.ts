/** The report as one HTML page that needs nothing else: no script, no font, no picture from anywhere. */
import { armCells, armColumns, compressionCells, compressionColumns, figure, tracesSentence } from './markdown.js';
import { accuracyPlot, armColors, type Figure, lengthPlot, lossPlot } from './plots.js';
import type { ReportData } from './report_data.js';
import { styleSheet } from './style.js';
import { compareArms, formatP, verdicts } from './summary.js';
import { escapeXml } from './svg.js';

function tableOf(header: readonly string[], rows: readonly (readonly string[])[], textColumns: number): string {
  const cell = (tag: string, text: string, index: number) =>
    `<${tag}${index < textColumns ? '' : ' class="number"'}>${escapeXml(text)}</${tag}>`;
  const line = (tag: string, cells: readonly string[]) =>
    `<tr>${cells.map((text, index) => cell(tag, text, index)).join('')}</tr>`;
  const body = rows.map((row) => line('td', row)).join('\n');
  return `<div class="scroll"><table><thead>${line('th', header)}</thead><tbody>\n${body}\n</tbody></table></div>`;
}

function figureOf(caption: string, content: Figure | null): string {
  if (content === null) return '';
  const legend = content.legend
    .map(({ label, color }) => `<span><i style="background:${color}"></i>${escapeXml(label)}</span>`)
    .join('');
  return `<figure>${content.svg}<div class="legend">${legend}</div><figcaption>${escapeXml(caption)}</figcaption></figure>`;
}

function samples(data: ReportData, color: (arm: string) => string): string {
  return data.samples
    .map(({ question, answer, texts }) => {
      const columns = texts.map(
        ({ arm, text }) =>
          `<section style="border-top-color:${color(arm)}"><h4>${escapeXml(arm)} · ${figure(text.length)} characters</h4><pre>${escapeXml(text)}</pre></section>`,
      );
      return `<article><p><strong>${escapeXml(question)}</strong> Answer: ${escapeXml(answer)}</p><div class="beside">${columns.join('')}</div></article>`;
    })
    .join('\n');
}

export function renderHtml(data: ReportData): string {
  const color = armColors(data);
  const verdict = verdicts(data)
    .map((sentence) => `<p class="verdict">${escapeXml(sentence)}</p>`)
    .join('');
  const comparisons = data.students.flatMap(compareArms).map((pair) => {
    const { student, a, b, onlyA, onlyB, p, adjusted, significant } = pair;
    return [student, a, b, String(onlyA), String(onlyB), formatP(p), formatP(adjusted), significant ? 'yes' : 'no'];
  });
  const costs = data.costs.map(({ stage, seconds, tokens }) => [
    stage,
    figure(seconds, 1),
    figure(tokens),
    tokens === 0 ? '–' : figure(tokens / seconds),
  ]);
  const settings = data.settings
    .map(([name, value]) => `<dt>${escapeXml(name)}</dt><dd>${escapeXml(value)}</dd>`)
    .join('');
  const students = data.students.map((student) =>
    [
      figureOf(`${student.name}: accuracy against median reasoning tokens`, accuracyPlot(student, color)),
      figureOf(`${student.name}: training loss`, lossPlot(student, color)),
    ].join('\n'),
  );
  const compared = ['Student', 'A', 'B', 'only A right', 'only B right', 'p', 'p (Holm)', 'significant'];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escapeXml(data.title)} · compress-distill</title>
<style>${styleSheet}</style>
</head>
<body>
<main>
<h1>${escapeXml(data.title)}</h1>
<p class="lead">Reasoning traces compressed before distillation: ${figure(data.traces.correct)} verified traces,
${figure(data.questions.eval)} held-out questions per arm.</p>
${verdict}
<h2>Arms</h2>
${tableOf(armColumns, armCells(data), 3)}
<p class="note">Accuracy with the standard error of its mean. Train tokens: trained tokens of one epoch. Tokens: completion
length, over all responses and without those cut off. Reasoning: the think block; of the untrained student, the whole
response. Acc / 1k tokens: accuracy ÷ mean completion tokens × 1000.</p>
<div class="figures">
${students.join('\n')}
${figureOf('Lengths of traces before and after compression (the longest 1 % in the last bin)', lengthPlot(data, color))}
</div>
<h2>Traces and compression</h2>
<p>${escapeXml(tracesSentence(data))}</p>
${tableOf(compressionColumns, compressionCells(data), 1)}
<h2>Paired comparisons</h2>
${comparisons.length === 0 ? '<p>A single arm: nothing to compare.</p>' : tableOf(compared, comparisons, 3)}
<p class="note">McNemar's exact test on the same questions, two-sided; Holm's correction within a student's arms, and apart from
that over the comparisons with the untrained student.</p>
<h2>Examples</h2>
${samples(data, color)}
<h2>Costs</h2>
${tableOf(['Stage', 'Seconds', 'Tokens', 'Tokens/s'], costs, 1)}
<h2>Settings</h2>
<dl>${settings}</dl>
</main>
</body>
</html>
`;
}

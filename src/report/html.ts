/** The report as one HTML page that needs nothing else: no font, no picture, no script from anywhere but its own few lines. */
import { armNote, comparisonNote, gapNote, tracesSentence } from './markdown.js';
import { accuracyPlot, armColors, type Figure, gapPlot, lengthPlot, lossPlot } from './plots.js';
import type { ReportData } from './report_data.js';
import { filterScript } from './script.js';
import { styleSheet } from './style.js';
import { verdicts } from './summary.js';
import { escapeXml } from './svg.js';
import * as tables from './tables.js';

type Color = (arm: string) => string;

function tableOf({ columns: header, rows, textColumns }: tables.Table): string {
  const cell = (tag: string, text: string, index: number) =>
    `<${tag}${index < textColumns ? '' : ' class="number"'}>${escapeXml(text)}</${tag}>`;
  const line = (tag: string, cells: readonly string[]) =>
    `<tr>${cells.map((text, index) => cell(tag, text, index)).join('')}</tr>`;
  const body = rows.map((row) => line('td', row)).join('\n');
  return `<div class="scroll" tabindex="0"><table><thead>${line('th', header)}</thead><tbody>\n${body}\n</tbody></table></div>`;
}

function figureOf(caption: string, content: Figure | null): string {
  if (content === null) return '';
  const legend = content.legend
    .map(({ label, color }) => `<span><i style="background:${color}"></i>${escapeXml(label)}</span>`)
    .join('');
  return `<figure>${content.svg}<div class="legend">${legend}</div><figcaption>${escapeXml(caption)}</figcaption></figure>`;
}

/** Traces beside their compressions; without a script all of them are shown. */
function samples(data: ReportData, color: Color): string {
  const articles = data.samples.map(({ question, answer, dataset, texts }) => {
    const columns = texts.map(
      ({ arm, text, tokens }) =>
        `<section data-arm="${escapeXml(arm)}" style="border-top-color:${color(arm)}"><h4>${escapeXml(arm)} · ${tables.figure(tokens)} tokens</h4><pre>${escapeXml(text)}</pre></section>`,
    );
    return `<article data-dataset="${escapeXml(dataset)}"><p><strong>${escapeXml(question)}</strong> <span class="answer">${escapeXml(answer)}</span></p><div class="beside">${columns.join('')}</div></article>`;
  });
  return `${filters(data)}<div id="samples">\n${articles.join('\n')}\n</div>`;
}

function filters({ samples }: ReportData): string {
  const datasets = [...new Set(samples.map(({ dataset }) => dataset))];
  const arms = [...new Set(samples.flatMap(({ texts }) => texts.map(({ arm }) => arm)))];
  const options = datasets.map((name) => `<option>${escapeXml(name)}</option>`).join('');
  const boxes = arms
    .map((arm) => `<label><input type="checkbox" value="${escapeXml(arm)}" checked> ${escapeXml(arm)}</label>`)
    .join('');
  return `<form id="filters" hidden>
<input type="search" placeholder="words in question or trace" aria-label="words in question or trace">
<select aria-label="dataset"><option value="">all datasets</option>${options}</select>
<fieldset>${boxes}</fieldset><output></output></form>`;
}

function section(id: string, title: string, ...content: string[]): string {
  return `<section class="part" id="${id}"><h2>${title}</h2>\n${content.filter((part) => part !== '').join('\n')}\n</section>`;
}

const note = (text: string) => `<p class="note">${escapeXml(text)}</p>`;

type Part = [id: string, title: string, ...content: string[]];

function parts(data: ReportData, color: Color): Part[] {
  const students = data.students.flatMap((student) => [
    figureOf(`${student.name}: accuracy against median reasoning tokens`, accuracyPlot(student, color)),
    figureOf(`${student.name}: training loss`, lossPlot(student, color)),
    figureOf(`${student.name}: accuracy by dataset, less that of the raw arm`, gapPlot(student, color)),
  ]);
  const lengths = figureOf(
    'Lengths of traces before and after compression (the longest 1 % in the last bin)',
    lengthPlot(data, color),
  );
  const [gaps, comparisons] = [tables.gapTable(data), tables.comparisonTable(data)];
  const predictions = tables.predictionTable(data);
  return [
    ['arms', 'Arms', tableOf(tables.armTable(data)), note(armNote)],
    ['figures', 'Figures', `<div class="figures">\n${[...students, lengths].filter(Boolean).join('\n')}\n</div>`],
    ...(gaps.rows.length === 0 ? [] : [['datasets', 'By dataset', tableOf(gaps), note(gapNote)] satisfies Part]),
    [
      'comparisons',
      'Paired comparisons',
      ...(comparisons.rows.length === 0
        ? ['<p>A single arm: nothing to compare.</p>']
        : [tableOf(comparisons), note(comparisonNote)]),
    ],
    [
      'traces',
      'Traces and compression',
      `<p>${escapeXml(tracesSentence(data))}</p>`,
      tableOf(tables.compressionTable(data)),
      tableOf(tables.datasetTable(data)),
    ],
    ['examples', 'Traces beside their compressions', samples(data, color)],
    ['costs', 'Costs', tableOf(tables.costTable(data)), note(tables.costNote(data))],
    ...(predictions.rows.length === 0 ? [] : [expectedPart(data, predictions)]),
    ['settings', 'Settings', `<dl>${settingsOf(data)}</dl>`],
  ];
}

function expectedPart({ prediction }: ReportData, table: tables.Table): Part {
  return ['expected', 'What was expected', tableOf(table), note(prediction!.basis)];
}

function settingsOf({ settings }: ReportData): string {
  return settings.map(([name, value]) => `<dt>${escapeXml(name)}</dt><dd>${escapeXml(value)}</dd>`).join('');
}

export function renderHtml(data: ReportData): string {
  const color = armColors(data);
  const verdict = verdicts(data)
    .map((sentence) => `<p class="verdict">${escapeXml(sentence)}</p>`)
    .join('');
  const shown = parts(data, color);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${escapeXml(data.title)} · compress-distill</title>
<style>${styleSheet}</style>
</head>
<body>
<main>
<h1>${escapeXml(data.title)}</h1>
<p class="lead">Reasoning traces compressed before distillation: ${tables.figure(data.traces.correct)} verified traces,
${tables.figure(data.questions.eval)} held-out questions per arm.</p>
${verdict}
<nav>${shown.map(([id, title]) => `<a href="#${id}">${title}</a>`).join('')}</nav>
${shown.map(([id, title, ...content]) => section(id, title, ...content)).join('\n')}
</main>
<script>${filterScript}</script>
</body>
</html>
`;
}

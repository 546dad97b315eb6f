/** The page that `watch` serves: it asks for the state every two seconds and draws it. */
import { styleSheet } from './style.js';

const script = `
const at = (id) => document.getElementById(id);
const make = (tag, text, attributes = {}) => {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
const svg = (tag, attributes, text) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
};
const figure = (value) => value == null || !Number.isFinite(value) ? '–' : value >= 100 ? Math.round(value).toLocaleString('en-US') : String(Number(value.toPrecision(3)));
const duration = (seconds) => seconds == null ? '–' : seconds < 60 ? Math.round(seconds) + ' s' : seconds < 3600 ? Math.floor(seconds / 60) + ' min ' + Math.round(seconds % 60) + ' s' : Math.floor(seconds / 3600) + ' h ' + Math.round(seconds % 3600 / 60) + ' min';

function drawLive(live) {
  const fresh = live && Date.now() - Date.parse(live.updated) < 60000;
  at('now').replaceChildren();
  if (!live) return at('now').append(make('p', 'Nothing is at work in this folder.', { class: 'note' }));
  at('now').append(
    make('p', live.stage + ': ' + live.done.toLocaleString('en-US') + ' of ' + live.total.toLocaleString('en-US') + ' ' + live.unit),
    make('progress', '', { max: live.total, value: live.done }),
    make('p', [figure(live.rate) + ' ' + live.unit + '/s', live.state || figure(live.tokensPerSecond) + ' tokens/s', duration(live.secondsLeft) + ' left', fresh ? null : 'last heard of ' + new Date(live.updated).toLocaleTimeString()].filter(Boolean).join(' · '), { class: 'note' }),
  );
}

function drawStages(stages) {
  at('stages').replaceChildren(...stages.map((stage) => {
    const row = document.createElement('tr');
    row.append(make('td', (stage.state === 'done' ? '✓ ' : '• ') + stage.name), ...[stage.kept, stage.failed, stage.promptTokens, stage.tokens, stage.seconds, stage.seconds > 0 ? stage.tokens / stage.seconds : null].map((value) => make('td', figure(value), { class: 'number' })));
    return row;
  }));
}

function drawCurves(curves) {
  const [width, height, margin] = [480, 240, 40];
  const points = curves.flatMap((curve) => curve.points);
  at('curves').replaceChildren();
  if (points.length === 0) return at('curves').append(make('p', 'No training yet.', { class: 'note' }));
  const last = Math.max(2, ...points.map(([step]) => step));
  const top = Math.max(0.1, ...points.map(([, loss]) => loss).filter(Number.isFinite));
  const x = (step) => margin + (step - 1) / (last - 1) * (width - margin - 10);
  const y = (loss) => height - 24 - loss / top * (height - 34);
  const plot = svg('svg', { viewBox: '0 0 ' + width + ' ' + height, role: 'img', 'aria-label': 'training loss' });
  for (const share of [0, 0.5, 1]) plot.append(svg('line', { class: 'grid', x1: margin, x2: width - 10, y1: y(share * top), y2: y(share * top) }), svg('text', { x: margin - 6, y: y(share * top) + 4, 'text-anchor': 'end' }, (share * top).toFixed(2)));
  plot.append(svg('text', { x: width - 10, y: height - 6, 'text-anchor': 'end' }, 'step ' + last));
  const legend = make('div', '', { class: 'legend' });
  curves.forEach(({ name, points }, index) => {
    const color = 'var(--arm-' + index % 8 + ')';
    plot.append(svg('path', { class: 'series', stroke: color, d: points.filter(([, loss]) => Number.isFinite(loss)).map(([step, loss], i) => (i ? 'L' : 'M') + x(step).toFixed(1) + ' ' + y(loss).toFixed(1)).join('') }));
    const entry = make('span', '');
    entry.append(make('i', '', { style: 'background:' + color }), name);
    legend.append(entry);
  });
  at('curves').append(plot, legend);
}

function drawNewest(newest) {
  at('newest').replaceChildren();
  if (!newest) return at('newest').append(make('p', 'No rows yet.', { class: 'note' }));
  at('newest').append(make('p', newest.file, { class: 'note' }));
  for (const { id, ok, reason, text } of newest.rows) {
    const card = make('section', '', { class: 'card' });
    card.append(make('h4', (ok ? '✓ ' : '✗ ') + id + (reason ? ' · ' + reason : '')), make('pre', text));
    at('newest').append(card);
  }
}

async function refresh() {
  try {
    const state = await (await fetch('state.json')).json();
    drawLive(state.live);
    drawStages(state.stages);
    drawCurves(state.curves);
    drawNewest(state.newest);
    at('report').hidden = !state.report;
    at('status').textContent = 'as of ' + new Date(state.updated).toLocaleTimeString();
  } catch {
    at('status').textContent = 'The watching process has ended.';
  }
  setTimeout(refresh, 2000);
}
refresh();
`;

/** @param title escaped text */
export function watchPage(title: string): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${title} · watch</title>
<style>${styleSheet}
progress { width: 100%; height: 1rem; accent-color: var(--accent); }
#curves svg { max-width: 40rem; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .7rem; margin-bottom: .8rem; }
.card pre { max-height: 14rem; overflow-y: auto; }
</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p class="lead"><span id="status">…</span> <a id="report" href="report.html" hidden>The report</a></p>
<div id="now"></div>
<h2>Stages</h2>
<div class="scroll" tabindex="0"><table><thead><tr><th>Stage</th><th class="number">Kept</th><th class="number">Failed</th><th class="number">Tokens in</th><th class="number">Tokens out</th><th class="number">Seconds</th><th class="number">Tokens/s</th></tr></thead><tbody id="stages"></tbody></table></div>
<h2>Training loss</h2>
<figure id="curves"></figure>
<h2>Newest rows</h2>
<div id="newest"></div>
</main>
<script>${script}</script>
</body>
</html>
`;
}

// The report in a real browser: at a phone's width and a desktop's, its filters, and its figures against the plain data.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { renderHtml } from '../../src/report/html.js';
import type { ArmReport, ReportData } from '../../src/report/report_data.js';
import { emptyReport } from './example_report.js';

const browsers = ['chromium', 'chromium-browser', 'google-chrome'];
const browser = browsers.find((name) => spawnSync(name, ['--version']).status === 0);

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'browser-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function arm(name: string, right: (index: number) => boolean, tokens: number): ArmReport {
  return {
    arm: name,
    untrained: false,
    training: { rows: 10, tokens: 10 * tokens, epochs: 1, seconds: tokens / 10, finalLoss: 1 },
    loss: Array.from({ length: 20 }, (_, step) => ({ step: step + 1, loss: 2 / (step + 1) })),
    outcomes: Array.from({ length: 90 }, (_, index) => ({
      id: `q${index}`,
      dataset: ['sums', 'products', 'a dataset with a long name'][index % 3]!,
      correct: right(index),
      truncated: index % 30 === 0,
      completionTokens: tokens + index,
      reasoningCharacters: 4 * tokens + index,
      reasoningTokens: tokens + (index % 7),
    })),
  };
}

function exampleReport(): ReportData {
  const arms = [arm('raw', (i) => i % 4 !== 0, 400), arm('short', (i) => i % 3 !== 0, 90)];
  const report = emptyReport([{ name: 'small', model: 'm', method: 'lora', arms }]);
  const text = 'a_word_that_does_not_end_'.repeat(20);
  report.samples = ['sums', 'products', 'sums'].map((dataset, index) => ({
    question: `Question ${index}?`,
    answer: String(index),
    dataset,
    texts: [
      { arm: 'raw', text: `${text} apple${index}`, tokens: 100 },
      { arm: 'short', text: `pear${index}`, tokens: 10 },
    ],
  }));
  return report;
}

/** What the page in a frame of `width` pixels says of itself after `script` ran in it; `script` is a function of its document. */
function look<T>(page: string, width: number, script: string): T {
  const quoted = page.replaceAll('&', '&amp;').replaceAll('"', '&quot;');
  const outer = `<!doctype html><body><iframe width="${width}" height="800" srcdoc="${quoted}"></iframe>
<pre id="said"></pre><script>
addEventListener('load', () => {
  const { contentDocument, contentWindow } = document.querySelector('iframe');
  let said;
  try { said = (${script})(contentDocument, contentWindow); } catch (error) { said = { error: String(error) }; }
  document.getElementById('said').textContent = JSON.stringify(said);
});
</script></body>`;
  const path = join(folder, `${width}.html`);
  writeFileSync(path, outer);
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--dump-dom',
    `--user-data-dir=${join(folder, 'profile')}`,
  ];
  const { stdout, status } = spawnSync(browser!, [...flags, `file://${path}`], { encoding: 'utf8', timeout: 50_000 });
  expect(status).toBe(0);
  const said = /<pre id="said">([\s\S]*?)<\/pre>/.exec(stdout)![1]!;
  return JSON.parse(said.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')) as T;
}

const facts = `(page, window) => {
  const rows = [...page.querySelectorAll('#arms tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent));
  const [search, dataset] = [page.querySelector('#filters input[type=search]'), page.querySelector('#filters select')];
  const shown = () => [...page.querySelectorAll('#samples > article')].filter((article) => !article.hidden).length;
  const change = (field, value) => { field.value = value; field.dispatchEvent(new window.Event('input', { bubbles: true })); return shown(); };
  const wide = [...page.querySelectorAll('main > *, main section.part > :not(.scroll), figure, article, pre')]
    .filter((node) => node.getBoundingClientRect().right > window.innerWidth + 1).map((node) => node.tagName + ' ' + node.className);
  const filtered = { all: shown(), word: change(search, 'APPLE1'), none: change(search, 'zzz'), back: change(search, ''), dataset: change(dataset, 'sums') };
  const box = page.querySelector('#filters input[value=short]');
  box.click();
  const columns = [...page.querySelectorAll('#samples section')].filter((section) => section.offsetParent !== null).length;
  const small = [...page.querySelectorAll('p, td, th, figcaption, label, a')].filter((node) => node.offsetParent !== null && parseFloat(window.getComputedStyle(node).fontSize) < 12).length;
  return { rows, filtered, columns, wide, small, scroll: page.documentElement.scrollWidth, width: window.innerWidth, plots: page.querySelectorAll('svg').length };
}`;

interface Facts {
  rows: string[][];
  filtered: Record<string, number>;
  columns: number;
  wide: string[];
  small: number;
  scroll: number;
  width: number;
  plots: number;
}

test.for([390, 1280])(
  'at %i pixels nothing is cut off, the filters work and the figures are right',
  (width, { skip }) => {
    if (browser === undefined) skip('there is no browser: apt-get install chromium');
    const report = exampleReport();
    const said = look<Facts>(renderHtml(report), width, facts);
    expect(said.width).toBe(width);
    expect(said.scroll).toBeLessThanOrEqual(width);
    expect(said.wide).toEqual([]);
    expect(said.small).toBe(0);
    expect(said.plots).toBe(4);
    expect(said.filtered).toEqual({ all: 3, word: 1, none: 0, back: 3, dataset: 2 });
    expect(said.columns).toBe(2);
    // Again from the data alone, in the plainest way.
    for (const [index, { arm: name, outcomes }] of report.students[0]!.arms.entries()) {
      const n = outcomes.length;
      const right = outcomes.filter(({ correct }) => correct).length;
      const tokens = outcomes.map((outcome) => outcome.completionTokens);
      const mean = tokens.reduce((a, b) => a + b, 0) / n;
      const done = outcomes.filter(({ truncated }) => !truncated).map((outcome) => outcome.completionTokens);
      const middle = outcomes.map((outcome) => outcome.reasoningTokens).sort((a, b) => a - b);
      const variance = outcomes.reduce((sum, { correct }) => sum + (Number(correct) - right / n) ** 2, 0) / (n - 1);
      expect(said.rows[index]!.slice(2, 6)).toEqual([
        name,
        (right / n).toFixed(3),
        Math.sqrt(variance / n).toFixed(3),
        '90',
      ]);
      expect(said.rows[index]![8]).toBe(mean.toFixed(1));
      expect(said.rows[index]![9]).toBe((done.reduce((a, b) => a + b, 0) / done.length).toFixed(1));
      expect(said.rows[index]![10]).toBe(((n - done.length) / n).toFixed(3));
      expect(said.rows[index]![12]).toBe(String(Math.round((middle[44]! + middle[45]!) / 2)));
      expect(said.rows[index]![13]).toBe(((right / n / mean) * 1000).toFixed(3));
    }
  },
);

test('follows the reader to dark and to light', ({ skip }) => {
  if (browser === undefined) skip('there is no browser: apt-get install chromium');
  const script = `(page, window) => ({ dark: window.matchMedia('(prefers-color-scheme: dark)').matches, background: window.getComputedStyle(page.body).backgroundColor, ink: window.getComputedStyle(page.body).color })`;
  const said = look<{ dark: boolean; background: string; ink: string }>(renderHtml(exampleReport()), 800, script);
  const lightness = (color: string) =>
    /rgb\((\d+), (\d+), (\d+)\)/
      .exec(color)!
      .slice(1)
      .reduce((sum, part) => sum + Number(part), 0) / 3;
  expect(lightness(said.background) < lightness(said.ink)).toBe(said.dark);
});

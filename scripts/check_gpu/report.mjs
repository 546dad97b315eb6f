// What a stage has found, as a page for people and a JSON file with everything. Both are written anew with every row, so that a
// stage that is ended by somebody else leaves what it had.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { tables } from './tables.mjs';

export class Report {
  #folder;
  #head;
  #rows = [];
  #figures = {};

  /**
   * @param folder null: nothing is written.
   * @param head { stage, device, hardware, commit, date }
   */
  constructor(folder, head) {
    this.#folder = folder;
    this.#head = head;
  }

  row(row) {
    this.#rows.push(row);
    this.#write();
  }

  measured(table, figures) {
    this.#figures[table] = [...(this.#figures[table] ?? []), figures];
    this.#write();
  }

  /** @returns how many failed. */
  summarise() {
    const { stage } = this.#head;
    const count = (verdict) => this.#rows.filter((row) => row.verdict === verdict).length;
    console.log(`== ${stage}: ${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped`);
    for (const { what, verdict, detail } of this.#rows)
      if (verdict !== 'passed') console.log(`   ${verdict} ${what}: ${detail}`);
    if (this.#folder !== null) console.log(`   written: ${this.#path}.md and .json`);
    console.log('');
    return count('failed');
  }

  get #path() {
    const { hardware, stage } = this.#head;
    return join(this.#folder, `gpu-${hardware.split(',')[0].replace(/[^A-Za-z0-9]+/g, '-')}-${stage}`);
  }

  #write() {
    if (this.#folder === null) return;
    mkdirSync(this.#folder, { recursive: true });
    const { stage, hardware, commit, date } = this.#head;
    const count = (verdict) => this.#rows.filter((row) => row.verdict === verdict).length;
    const lines = [
      `# ${stage} on ${hardware}`,
      '',
      `Commit ${commit}, ${date}. ${count('passed')} passed, ${count('failed')} failed, ${count('skipped')} skipped.`,
      ...tables(this.#figures),
      '',
      '| what | verdict | seconds | |',
      '|---|---|---|---|',
      ...this.#rows.map(
        ({ what, verdict, seconds, detail }) =>
          `| ${[what, verdict, seconds?.toFixed(1) ?? '–', detail].map((text) => String(text).replaceAll('|', '\\|')).join(' | ')} |`,
      ),
    ];
    writeFileSync(`${this.#path}.md`, `${lines.join('\n')}\n`);
    const all = { ...this.#head, rows: this.#rows, ...this.#figures };
    writeFileSync(`${this.#path}.json`, `${JSON.stringify(all, null, 1)}\n`);
  }
}

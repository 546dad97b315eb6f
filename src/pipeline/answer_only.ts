/** The answer-only ablation: every verified question with the whole reasoning removed (paper §3.3). */
import { requireMayRun, type StudyContext } from './context.js';
import { fingerprint } from './identity.js';
import { type Row, RowFile } from './row_file.js';
import type { Trace } from './traces.js';

export interface AnswerOnlyRow extends Row {
  id: string;
  ok: true;
  answer: string;
  final: string;
}

/** @returns the ids of the questions of the arm */
export function runAnswerOnly(context: StudyContext, traces: readonly Trace[]): Set<string> {
  const begin = performance.now();
  const file = new RowFile<AnswerOnlyRow>(context.folder.file('answer-only.jsonl'));
  const rows = traces.map(({ question: { id, answer }, final }): AnswerOnlyRow => {
    return { key: fingerprint({ stage: 'answer-only', id, answer, final }), id, ok: true, answer, final };
  });
  const todo = rows.filter(({ key }) => file.get(key) === undefined);
  requireMayRun(context, 'answer-only', todo.length, rows.length);
  for (const row of todo) file.append(row);
  file.finalise(rows.map(({ key }) => key));
  if (todo.length > 0) {
    const seconds = (performance.now() - begin) / 1000;
    context.folder.record('answer-only', 'done', { kept: rows.length, failed: 0, seconds, tokens: 0 });
    context.progress.note(`answer-only: ${rows.length} questions without reasoning`);
  }
  return new Set(rows.map((row) => row.id));
}

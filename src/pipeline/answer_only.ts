/** The answer-only ablation: every verified question with the whole reasoning removed (paper §3.3). */
import { requireMayRun, type StudyContext } from './context.js';
import { fingerprint } from './identity.js';
import { type Row, RowFile } from './row_file.js';
import type { Traces } from './traces.js';

export interface AnswerOnlyRow extends Row {
  ok: true;
  answer: string;
  final: string;
}

export function answerOnlyFile({ folder }: StudyContext): RowFile<AnswerOnlyRow> {
  return new RowFile<AnswerOnlyRow>(folder.file('answer-only.jsonl'), folder);
}

export function* answerOnlyRows({ questions, source }: Traces): Generator<AnswerOnlyRow> {
  for (const { id, answer } of questions) {
    const { final } = source.row(id);
    yield { key: fingerprint({ stage: 'answer-only', id, answer, final }), id, ok: true, answer, final };
  }
}

/** @returns the ids of the questions of the arm */
export function runAnswerOnly(context: StudyContext, traces: Traces): Set<string> {
  const begin = performance.now();
  const file = answerOnlyFile(context);
  const keys: string[] = [];
  let written = 0;
  for (const row of answerOnlyRows(traces)) {
    keys.push(row.key);
    if (file.has(row.key)) continue;
    requireMayRun(context, 'answer-only', traces.questions.length - file.size, traces.questions.length);
    file.append(row);
    written++;
  }
  file.finalise(keys);
  file.close();
  if (written > 0) {
    const seconds = (performance.now() - begin) / 1000;
    context.folder.record('answer-only', 'done', { ...noWork, kept: keys.length, seconds }, {});
    context.progress.note(`answer-only: ${keys.length} questions without reasoning`);
  }
  return new Set(traces.questions.map(({ id }) => id));
}

const noWork = { kept: 0, failed: 0, deviceSeconds: 0, promptTokens: 0, tokens: 0, joules: null };

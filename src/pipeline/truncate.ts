/**
 * The length-matched ablation: each raw trace cut to as many tokens as its compression has (paper §3.3), so that a
 * compressed arm can be told from a merely shorter one. Decoded and encoded again, the length may differ by a token.
 */
import { UserError } from '../errors.js';
import { modelFingerprint, requireMayRun, type StudyContext } from './context.js';
import { fingerprint } from './identity.js';
import { type Row, RowFile } from './row_file.js';
import type { Trace } from './traces.js';

export interface TruncatedRow extends Row {
  id: string;
  ok: true;
  reasoning: string;
  tokens: number;
  originalTokens: number;
}

/** @param compressed the compression whose length is matched, by question id. @returns the cut traces by question id */
export async function runTruncate(
  context: StudyContext,
  settings: { like: string; tokenizer: string },
  traces: readonly Trace[],
  compressed: ReadonlyMap<string, string>,
): Promise<{ reasoning: Map<string, string>; rows: TruncatedRow[] }> {
  const begin = performance.now();
  const file = new RowFile<TruncatedRow>(context.folder.file('truncated.jsonl'));
  const tokenizerKey = await modelFingerprint(context, settings.tokenizer);
  const tasks = traces.flatMap((trace) => {
    const like = compressed.get(trace.question.id);
    if (like === undefined) return [];
    const key = fingerprint({ stage: 'truncate', tokenizerKey, id: trace.question.id, raw: trace.reasoning, like });
    return [{ key, trace, like }];
  });
  if (tasks.length === 0) {
    throw new UserError(`Stage 'truncate' has no trace with a compression by '${settings.like}'; run 'compress' first`);
  }
  const todo = tasks.filter(({ key }) => file.get(key) === undefined);
  requireMayRun(context, 'truncate', todo.length, tasks.length);
  if (todo.length > 0) {
    const tokenizer = await context.services.tokenizer(settings.tokenizer);
    for (const { key, trace, like } of todo) {
      const original = tokenizer.encode(trace.reasoning);
      const cut = original.slice(0, tokenizer.encode(like).length);
      // A cut inside a character leaves a replacement character.
      const reasoning = tokenizer
        .decode(cut)
        .replace(/\uFFFD+$/, '')
        .trim();
      file.append({
        key,
        id: trace.question.id,
        ok: true,
        reasoning,
        tokens: cut.length,
        originalTokens: original.length,
      });
    }
  }
  const rows = file.finalise(tasks.map(({ key }) => key));
  if (todo.length > 0) {
    const seconds = (performance.now() - begin) / 1000;
    context.folder.record('truncate', 'done', { kept: rows.length, failed: 0, seconds, tokens: 0 });
    context.progress.note(`truncate: ${rows.length} traces cut to the length of '${settings.like}'`);
  }
  return { reasoning: new Map(rows.map((row) => [row.id, row.reasoning])), rows };
}

/**
 * The length-matched ablation: each raw trace cut to as many tokens as its compression has (paper §3.3), so that a
 * compressed arm can be told from a merely shorter one. Decoded and encoded again, the length may differ by a token.
 */
import { UserError } from '../errors.js';
import { modelFingerprint, requireMayRun, type StudyContext } from './context.js';
import { fingerprint } from './identity.js';
import { ReasoningSource } from './reasoning_source.js';
import { type Row, RowFile } from './row_file.js';
import type { TextTokenizer } from './services.js';
import type { Traces } from './traces.js';

export interface TruncatedRow extends Row {
  ok: true;
  reasoning: string;
  tokens: number;
  originalTokens: number;
}

export interface Truncations {
  file: RowFile<TruncatedRow>;
  keys: string[];
  source: ReasoningSource<TruncatedRow>;
}

interface TruncateTask {
  key: string;
  id: string;
}

type Compressed = Pick<ReasoningSource<TruncatedRow>, 'has' | 'reasoning'>;

/** @param compressed the compressions whose length is matched */
export async function truncateTasks(
  context: StudyContext,
  settings: { tokenizer: string },
  { questions, source }: Traces,
  compressed: Compressed,
): Promise<{ file: RowFile<TruncatedRow>; tasks: TruncateTask[]; inputs: Record<string, string> }> {
  const tokenizer = await modelFingerprint(context, settings.tokenizer);
  const tasks: TruncateTask[] = [];
  for (const { id } of questions) {
    if (!compressed.has(id)) continue;
    const [raw, like] = [source.reasoning(id), compressed.reasoning(id)];
    tasks.push({ id, key: fingerprint({ stage: 'truncate', tokenizerKey: tokenizer, id, raw, like }) });
  }
  const file = new RowFile<TruncatedRow>(context.folder.file('truncated.jsonl'), context.folder);
  return { file, tasks, inputs: { tokenizer } };
}

/** Cut to as many tokens as `like` has. */
function cut(tokenizer: TextTokenizer, raw: string, like: string) {
  const original = tokenizer.encode(raw);
  const kept = original.slice(0, tokenizer.encode(like).length);
  // A cut inside a character leaves a replacement character.
  const reasoning = tokenizer
    .decode(kept)
    .replace(/\uFFFD+$/, '')
    .trim();
  return { reasoning, tokens: kept.length, originalTokens: original.length };
}

export async function runTruncate(
  context: StudyContext,
  settings: { like: string; tokenizer: string },
  traces: Traces,
  compressed: Compressed,
): Promise<Truncations> {
  const begin = performance.now();
  const { file, tasks, inputs } = await truncateTasks(context, settings, traces, compressed);
  if (tasks.length === 0) {
    throw new UserError(`Stage 'truncate' has no trace with a compression by '${settings.like}'; run 'compress' first`);
  }
  const todo = tasks.filter(({ key }) => !file.has(key));
  requireMayRun(context, 'truncate', todo.length, tasks.length);
  if (todo.length > 0) {
    context.folder.begin('truncate', inputs);
    const tokenizer = await context.services.tokenizer(settings.tokenizer);
    for (const { key, id } of todo)
      file.append({ key, id, ok: true, ...cut(tokenizer, traces.source.reasoning(id), compressed.reasoning(id)) });
  }
  const keys = tasks.map(({ key }) => key);
  file.finalise(keys);
  if (todo.length > 0) {
    const seconds = (performance.now() - begin) / 1000;
    const work = { kept: keys.length, failed: 0, seconds, deviceSeconds: 0, promptTokens: 0, tokens: 0, joules: null };
    context.folder.record('truncate', 'done', work, inputs);
    context.progress.note(`truncate: ${keys.length} traces cut to the length of '${settings.like}'`);
  }
  return { file, keys, source: new ReasoningSource(file, keys) };
}

/**
 * Rejection sampling in rounds: all pending tasks go to the engine as one batch, those with a usable result leave, the
 * others come again in the next round with another seed. Traces, compressions and evaluations (one round) all run so.
 *
 * Every attempt is a row whose identity covers task, sampling, model and attempt number, and whose seed follows from that
 * identity. So an interrupted run, started again, asks exactly the attempts that are missing and ends with the same rows.
 */
import { modelFingerprint, requireMayRun, type StageName, type StudyContext } from './context.js';
import { fingerprint, seedOf } from './identity.js';
import { throwIfInterrupted } from './interrupted.js';
import type { Row, RowFile } from './row_file.js';
import type { ChatMessage, OpenModel, Sampling, TextCompletion } from './services.js';

export interface AttemptRow extends Row {
  id: string;
  /** From 1. */
  attempt: number;
  ok: boolean;
  /** Why it is not ok. */
  reason?: string;
}

export interface RoundTask {
  id: string;
  messages: ChatMessage[];
  continuation: string;
  /** Whatever else the judgement depends on. */
  identity: unknown;
}

export interface Rounds<T extends RoundTask, R extends AttemptRow> {
  stage: StageName;
  /** What the progress bar says. */
  label: string;
  file: RowFile<R>;
  model: string;
  /** Trained weights in place of `model`'s, or an adapter on them; `key` is the identity of the training. */
  trained?: { path: string; key: string; adapter: boolean } | undefined;
  tasks: readonly T[];
  attempts: number;
  sampling: Sampling;
  judge: (task: T, completion: TextCompletion, model: OpenModel, row: Pick<R, 'key' | 'id' | 'attempt'>) => R;
}

/** @returns all attempts' rows, by round and in the order of the tasks; the file holds exactly these. */
export async function runRounds<T extends RoundTask, R extends AttemptRow>(
  context: StudyContext,
  rounds: Rounds<T, R>,
): Promise<R[]> {
  const { stage, label, file, tasks, attempts } = rounds;
  const common = fingerprint({
    stage,
    model: await modelFingerprint(context, rounds.model),
    trained: rounds.trained?.key,
    dtype: context.config.dtype,
    seed: context.config.seed,
    sampling: rounds.sampling,
  });
  const keyOf = ({ id, messages, continuation, identity }: T, attempt: number) =>
    fingerprint({ common, id, messages, continuation, identity, attempt });

  const keys: string[] = [];
  let pending = tasks;
  let tokens = 0;
  const begin = performance.now();
  const record = (state: 'running' | 'done') => {
    const seconds = (performance.now() - begin) / 1000;
    const kept = tasks.length - pending.length;
    if (tokens > 0 || state === 'done')
      context.folder.record(label, state, { kept, failed: pending.length, seconds, tokens });
  };
  let worked = false;
  try {
    for (let attempt = 1; attempt <= attempts && pending.length > 0; attempt++) {
      const byKey = new Map(pending.map((task) => [keyOf(task, attempt), task]));
      const todo = [...byKey].filter(([key]) => file.get(key) === undefined);
      requireMayRun(context, stage, todo.length, byKey.size);
      if (todo.length > 0) {
        throwIfInterrupted(context.signal, `stage '${label}'`);
        worked = true;
        const model = await openRounds(context, rounds);
        const first = todo[0]![1];
        context.progress.prompt(label, model.render(first.messages, first.continuation));
        const title = attempts > 1 ? `${label} round ${attempt}/${attempts}` : label;
        const meter = context.progress.start(title, byKey.size, byKey.size - todo.length, 'rows');
        const requests = todo.map(([key, { messages, continuation }]) => ({
          id: key,
          messages,
          continuation,
          sampling: { ...rounds.sampling, seed: seedOf(key) },
        }));
        try {
          for await (const completion of model.generate(requests, { signal: context.signal })) {
            if (completion.finishReason === 'aborted') continue;
            const task = byKey.get(completion.id);
            if (task === undefined)
              throw new Error(`Expected a completion of a request but received '${completion.id}'`);
            const row = { key: completion.id, id: task.id, attempt } as Pick<R, 'key' | 'id' | 'attempt'>;
            file.append(rounds.judge(task, completion, model, row));
            tokens += completion.tokens.length;
            meter.advance(1, completion.tokens.length);
          }
        } finally {
          meter.finish();
        }
        throwIfInterrupted(context.signal, `stage '${label}'`);
        const lost = todo.filter(([key]) => file.get(key) === undefined).length;
        if (lost > 0) throw new Error(`Expected a completion for each of ${todo.length} requests but ${lost} had none`);
      }
      keys.push(...byKey.keys());
      pending = [...byKey].filter(([key]) => !file.get(key)!.ok).map(([, task]) => task);
    }
  } catch (error) {
    record('running');
    file.close();
    throw error;
  }
  const rows = file.finalise(keys);
  if (worked) record('done');
  return rows;
}

function openRounds(
  { services }: StudyContext,
  { model, trained }: Pick<Rounds<never, never>, 'model' | 'trained'>,
): Promise<OpenModel> {
  if (trained === undefined) return services.open(model);
  return trained.adapter ? services.open(model, { adapter: trained.path }) : services.open(trained.path);
}

/** The fields that every judged row says about its completion. */
export function completionFacts(completion: TextCompletion) {
  return {
    promptTokens: completion.promptTokens,
    completionTokens: completion.tokens.length,
    finishReason: completion.finishReason,
  };
}

/** Why a completion cannot be used whatever it says, or null. */
export function completionProblem(completion: TextCompletion): string | null {
  if (completion.finishReason === 'error') return `error: ${completion.error ?? 'unknown'}`;
  if (completion.finishReason === 'length') return 'cut off at the token limit';
  return null;
}

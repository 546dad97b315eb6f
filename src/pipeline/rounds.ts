/**
 * Rejection sampling in rounds: all pending tasks go to the engine as one batch, those with a usable result leave, the
 * others come again in the next round with another seed. Traces, compressions and evaluations (one round) all run so.
 *
 * Every attempt is a row whose identity covers task, sampling, model, numerics and attempt number, and whose seed follows
 * from that identity (but for the numerics, so that two machines draw alike). So an interrupted run, started again, asks
 * exactly the attempts that are missing and ends with the same rows. Prompts are made when they are needed: a study's
 * texts never are in memory together.
 */
import { modelFingerprint, requireMayRun, type StageName, type StudyContext } from './context.js';
import { EnergyMeter } from './energy.js';
import { fingerprint, seedOf } from './identity.js';
import { throwIfInterrupted } from './interrupted.js';
import type { Row, RowFile } from './row_file.js';
import type { ChatMessage, OpenModel, Sampling, TextCompletion, TextRequest } from './services.js';

export interface AttemptRow extends Row {
  /** From 1. */
  attempt: number;
  /** Why it is not ok. */
  reason?: string;
  promptTokens: number;
  completionTokens: number;
}

export interface RoundTask {
  id: string;
}

export interface RoundPrompt {
  messages: ChatMessage[];
  continuation: string;
  /** Whatever else the judgement depends on. */
  identity: unknown;
}

export interface Rounds<T extends RoundTask, R extends AttemptRow> {
  stage: StageName;
  /** What the progress bar says, and the stage's name in the manifest. */
  label: string;
  file: RowFile<R>;
  model: string;
  /** Trained weights in place of `model`'s, or an adapter on them; `key` is the identity of the training. */
  trained?: { path: string; key: string; adapter: boolean } | undefined;
  tasks: readonly T[];
  prompt: (task: T) => RoundPrompt;
  attempts: number;
  sampling: Sampling;
  /** Named settings that the prompts and the judgement follow, to say later which of them changed. */
  settings: Readonly<Record<string, unknown>>;
  judge: (task: T, completion: TextCompletion, model: OpenModel, row: Pick<R, 'key' | 'id' | 'attempt'>) => R;
}

/** What the rows depend on, by name: a fingerprint each. */
export type Inputs = Record<string, string>;

export interface PreparedRounds<T> {
  inputs: Inputs;
  keyOf: (task: T, attempt: number) => string;
  seedOf: (task: T, attempt: number) => number;
}

/** Reads every prompt once, for the rows' identities. */
export async function prepareRounds<T extends RoundTask, R extends AttemptRow>(
  context: StudyContext,
  rounds: Rounds<T, R>,
): Promise<PreparedRounds<T>> {
  const { stage, tasks, sampling, trained, prompt, settings } = rounds;
  const { config, numerics } = context;
  const model = await modelFingerprint(context, rounds.model);
  const common = fingerprint({ stage, model, trained: trained?.key, dtype: config.dtype, seed: config.seed, sampling });
  const bases = new Map(tasks.map((task) => [task, fingerprint({ common, id: task.id, ...prompt(task) })]));
  const inputs = {
    model: trained === undefined ? model : fingerprint({ model, trained: trained.key }),
    seed: String(config.seed),
    dtype: config.dtype,
    sampling: fingerprint(sampling),
    numerics,
    ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, fingerprint({ value })])),
  };
  return {
    inputs,
    keyOf: (task, attempt) => fingerprint({ base: bases.get(task), attempt, numerics }),
    seedOf: (task, attempt) => seedOf(fingerprint({ base: bases.get(task), attempt })),
  };
}

/** @returns the keys of all attempts' rows, by round and in the order of the tasks; the file holds exactly these. */
export async function runRounds<T extends RoundTask, R extends AttemptRow>(
  context: StudyContext,
  rounds: Rounds<T, R>,
): Promise<string[]> {
  const { stage, label, file, tasks, attempts } = rounds;
  const { inputs, keyOf, seedOf } = await prepareRounds(context, rounds);

  const keys: string[] = [];
  let pending = tasks;
  let tokens = 0;
  let promptTokens = 0;
  let deviceSeconds = 0;
  const begin = performance.now();
  const energy = new EnergyMeter(context.config.device);
  const record = (state: 'running' | 'done') => {
    const seconds = (performance.now() - begin) / 1000;
    const kept = tasks.length - pending.length;
    const work = { kept, failed: pending.length, seconds, deviceSeconds, promptTokens, tokens, joules: energy.stop() };
    context.folder.record(label, state, work, inputs);
  };
  let worked = false;
  try {
    for (let attempt = 1; attempt <= attempts && pending.length > 0; attempt++) {
      const byKey = new Map(pending.map((task) => [keyOf(task, attempt), task]));
      const todo = [...byKey].filter(([key]) => !file.has(key));
      requireMayRun(context, stage, todo.length, byKey.size);
      if (todo.length > 0) {
        throwIfInterrupted(context.signal, `stage '${label}'`);
        if (!worked) {
          context.folder.begin(label, inputs);
          energy.start();
        }
        worked = true;
        const model = await openRounds(context, rounds);
        const before = model.deviceSeconds?.() ?? 0;
        const first = rounds.prompt(todo[0]![1]);
        context.progress.prompt(label, model.render(first.messages, first.continuation));
        const title = attempts > 1 ? `${label} round ${attempt}/${attempts}` : label;
        const state = model.status === undefined ? undefined : () => model.status!();
        const meter = context.progress.start(title, byKey.size, byKey.size - todo.length, 'rows', state);
        const requests = function* (): Generator<TextRequest> {
          for (const [key, task] of todo) {
            const { messages, continuation } = rounds.prompt(task);
            const sampling = { ...rounds.sampling, seed: seedOf(task, attempt) };
            yield { id: key, messages, continuation, sampling };
          }
        };
        try {
          for await (const completion of model.generate(requests(), { signal: context.signal })) {
            if (completion.finishReason === 'aborted') continue;
            const task = byKey.get(completion.id);
            if (task === undefined)
              throw new Error(`Expected a completion of a request but received '${completion.id}'`);
            const row = { key: completion.id, id: task.id, attempt } as Pick<R, 'key' | 'id' | 'attempt'>;
            file.append(rounds.judge(task, completion, model, row));
            tokens += completion.tokens.length;
            promptTokens += completion.promptTokens;
            meter.advance(1, completion.tokens.length);
          }
        } finally {
          meter.finish();
          deviceSeconds += (model.deviceSeconds?.() ?? 0) - before;
        }
        throwIfInterrupted(context.signal, `stage '${label}'`);
        const lost = todo.filter(([key]) => !file.has(key)).length;
        if (lost > 0) throw new Error(`Expected a completion for each of ${todo.length} requests but ${lost} had none`);
      }
      keys.push(...byKey.keys());
      pending = [...byKey].filter(([key]) => !file.isUsable(key)).map(([, task]) => task);
    }
    file.finalise(keys);
  } catch (error) {
    if (worked) record('running');
    file.close();
    throw error;
  }
  if (worked) record('done');
  return keys;
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

/**
 * Rejection sampling in rounds: all pending tasks go to the engine as one batch, those with a usable result leave, the
 * others come again in the next round with another seed. Traces, compressions and evaluations (one round) all run so.
 *
 * Every attempt is a row whose identity covers task, sampling, model, numerics and attempt number, and whose seed follows
 * from that identity (but for the numerics, so that two machines draw alike). So an interrupted run, started again, asks
 * exactly the attempts that are missing and ends with the same rows. What a row is judged by (the expected answer, how
 * answers are read) is no part of that: where it changed, the stored text is judged again and nothing is generated.
 * Prompts are made when they are needed: a study's texts never are in memory together.
 */
import { modelFingerprint, requireMayRun, type StageName, type StudyContext } from './context.js';
import { EnergyMeter } from './energy.js';
import { fingerprint, seedOf } from './identity.js';
import { throwIfInterrupted } from './interrupted.js';
import type { Row, RowFile } from './row_file.js';
import type { ChatMessage, OpenModel, Sampling, TextCompletion, TextRequest, TextTokenizer } from './services.js';
import type { CountTokens, StoredCompletion } from './verdicts.js';
import { verificationVersion } from './verification.js';

export interface AttemptRow extends Row, StoredCompletion {
  /** From 1. */
  attempt: number;
  /** Why it is not ok. */
  reason?: string;
  promptTokens: number;
  completionTokens: number;
  judged: string;
}

export interface RoundTask {
  id: string;
}

export interface RoundPrompt {
  messages: ChatMessage[];
  continuation: string;
}

/** @template V what is read from a completion, stored with it in a row */
export interface Rounds<T extends RoundTask, V extends Pick<AttemptRow, 'ok' | 'reason'>> {
  stage: StageName;
  /** What the progress bar says, and the stage's name in the manifest. */
  label: string;
  file: RowFile<AttemptRow & V>;
  model: string;
  /** Trained weights in place of `model`'s, or an adapter on them; `key` is the identity of the training. */
  trained?: { path: string; key: string; adapter: boolean } | undefined;
  tasks: readonly T[];
  prompt: (task: T) => RoundPrompt;
  attempts: number;
  sampling: Sampling;
  /** Named settings that the prompts follow, to say later which of them changed. */
  settings: Readonly<Record<string, unknown>>;
  /** Put before what the model writes. Default: nothing. */
  responsePrefix?: string;
  /** Whatever the verdict depends on beside the completion and the code. */
  verdictDependsOn: (task: T) => unknown;
  judge: (task: T, completion: StoredCompletion, count: CountTokens) => V;
}

/** What the rows depend on, by name: a fingerprint each. */
export type Inputs = Record<string, string>;

export interface PreparedRounds<T> {
  inputs: Inputs;
  keyOf: (task: T, attempt: number) => string;
  seedOf: (task: T, attempt: number) => number;
  /** What a row of the task has to be judged by. */
  judgedBy: (task: T) => string;
}

type AnyRounds<T extends RoundTask> = Omit<Rounds<T, never>, 'file' | 'judge'>;

/** Reads every prompt once, for the rows' identities. */
export async function prepareRounds<T extends RoundTask>(
  context: StudyContext,
  rounds: AnyRounds<T>,
): Promise<PreparedRounds<T>> {
  const { stage, tasks, sampling, trained, prompt, settings, verdictDependsOn } = rounds;
  const { config, numerics } = context;
  const model = await modelFingerprint(context, rounds.model);
  const dtype = config.engine.kvCacheDtype === 'fp8' ? `${config.dtype}, keys and values in fp8` : config.dtype;
  const common = fingerprint({ stage, model, trained: trained?.key, dtype, seed: config.seed, sampling });
  const bases = new Map(tasks.map((task) => [task, fingerprint({ common, id: task.id, ...prompt(task) })]));
  const verification = verificationVersion();
  const inputs = {
    model: trained === undefined ? model : fingerprint({ model, trained: trained.key }),
    seed: String(config.seed),
    dtype,
    sampling: fingerprint(sampling),
    numerics,
    verification,
    ...Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, fingerprint({ value })])),
  };
  return {
    inputs,
    keyOf: (task, attempt) => fingerprint({ base: bases.get(task), attempt, numerics }),
    seedOf: (task, attempt) => seedOf(fingerprint({ base: bases.get(task), attempt })),
    judgedBy: (task) => fingerprint({ verification, ...(verdictDependsOn(task) as object) }),
  };
}

/** @returns the keys of all attempts' rows, by round and in the order of the tasks; the file holds exactly these. */
export async function runRounds<T extends RoundTask, V extends Pick<AttemptRow, 'ok' | 'reason'>>(
  context: StudyContext,
  rounds: Rounds<T, V>,
): Promise<string[]> {
  const { stage, file, tasks, attempts } = rounds;
  const prepared = await prepareRounds<T>(context, rounds);
  const work = new RoundsWork(context, rounds, prepared);
  const keys: string[] = [];
  let pending = tasks;
  try {
    for (let attempt = 1; attempt <= attempts && pending.length > 0; attempt++) {
      const byKey = new Map(pending.map((task) => [prepared.keyOf(task, attempt), task]));
      const todo = [...byKey].filter(([key]) => !file.has(key));
      const stale = [...byKey].filter(([key, task]) => file.has(key) && file.judgedBy(key) !== prepared.judgedBy(task));
      requireMayRun(context, stage, todo.length + stale.length, byKey.size);
      if (stale.length > 0) await work.judgeAgain(stale);
      if (todo.length > 0) await work.generate(todo, attempt, byKey.size);
      for (const key of byKey.keys()) keys.push(key); // More than a call may have arguments.
      pending = [...byKey].filter(([key]) => !file.isUsable(key)).map(([, task]) => task);
    }
    file.finalise(keys);
  } catch (error) {
    work.record('running', pending.length);
    file.close();
    throw error;
  }
  work.record('done', pending.length);
  return keys;
}

/** Rows that are judged again before others may have their turn. */
const rowsPerTurn = 200;

/** What one call of runRounds does, and what that costs. */
class RoundsWork<T extends RoundTask, V extends Pick<AttemptRow, 'ok' | 'reason'>> {
  readonly #context: StudyContext;
  readonly #rounds: Rounds<T, V>;
  readonly #prepared: PreparedRounds<T>;
  readonly #energy: EnergyMeter;
  readonly #begin = performance.now();
  #worked = false;
  #tokens = 0;
  #promptTokens = 0;
  #deviceSeconds = 0;

  constructor(context: StudyContext, rounds: Rounds<T, V>, prepared: PreparedRounds<T>) {
    this.#context = context;
    this.#rounds = rounds;
    this.#prepared = prepared;
    this.#energy = new EnergyMeter(context.config.device);
  }

  #start(): void {
    throwIfInterrupted(this.#context.signal, `stage '${this.#rounds.label}'`);
    if (this.#worked) return;
    this.#worked = true;
    this.#context.folder.begin(this.#rounds.label, this.#prepared.inputs);
    this.#energy.start();
  }

  /** Asks the model for the rows of `todo`. @param total of the round, those that are there included */
  async generate(todo: readonly (readonly [string, T])[], attempt: number, total: number): Promise<void> {
    this.#start();
    const { label, file, attempts, prompt, sampling, responsePrefix = '' } = this.#rounds;
    const { progress, signal } = this.#context;
    const { seedOf } = this.#prepared;
    const model = await this.#open();
    const count = counter(model.tokenizer);
    const tasks = new Map(todo);
    const before = model.deviceSeconds?.() ?? 0;
    const first = prompt(todo[0]![1]);
    progress.prompt(label, model.render(first.messages, first.continuation));
    const title = attempts > 1 ? `${label} round ${attempt}/${attempts}` : label;
    const state = model.status === undefined ? undefined : () => model.status!();
    const meter = progress.start(title, total, total - todo.length, 'rows', state);
    const requests = function* (): Generator<TextRequest> {
      for (const [key, task] of todo) {
        const { messages, continuation } = prompt(task);
        yield { id: key, messages, continuation, sampling: { ...sampling, seed: seedOf(task, attempt) } };
      }
    };
    try {
      for await (const completion of model.generate(requests(), { signal })) {
        if (completion.finishReason === 'aborted') continue;
        const task = tasks.get(completion.id);
        if (task === undefined) throw new Error(`Expected a completion of a request but received '${completion.id}'`);
        const stored = storedCompletion(completion, responsePrefix);
        const promptTokens = completion.promptTokens;
        const completionTokens = completion.tokens.length;
        const place = { key: completion.id, id: task.id, attempt, promptTokens, completionTokens };
        file.append(this.#row(task, place, stored, count));
        this.#tokens += completionTokens;
        this.#promptTokens += promptTokens;
        meter.advance(1, completionTokens);
      }
    } finally {
      meter.finish();
      this.#deviceSeconds += (model.deviceSeconds?.() ?? 0) - before;
    }
    throwIfInterrupted(signal, `stage '${label}'`);
    const lost = todo.filter(([key]) => !file.has(key)).length;
    if (lost > 0) throw new Error(`Expected a completion for each of ${todo.length} requests but ${lost} had none`);
  }

  /** Judges rows that are there by what is stored of their completions. */
  async judgeAgain(stale: readonly (readonly [string, T])[]): Promise<void> {
    this.#start();
    const { label, file, trained, model } = this.#rounds;
    const { progress, services, signal } = this.#context;
    // A student may have tokens of its own.
    const tokenizer = trained === undefined ? await services.tokenizer(model) : (await this.#open()).tokenizer;
    const count = counter(tokenizer);
    const meter = progress.start(`${label} verified again`, stale.length, 0, 'rows');
    let done = 0;
    try {
      for (const [key, task] of stale) {
        const { id, attempt, promptTokens, completionTokens, ...row } = file.read(key);
        const { response, finishReason, error } = row;
        const stored = { response, finishReason, ...(error === undefined ? {} : { error }) };
        file.replace(this.#row(task, { key, id, attempt, promptTokens, completionTokens }, stored, count));
        meter.advance(1);
        if (++done % rowsPerTurn !== 0) continue;
        await new Promise(setImmediate);
        throwIfInterrupted(signal, `stage '${label}'`);
      }
    } finally {
      meter.finish();
    }
  }

  #row(
    task: T,
    { key, id, attempt, promptTokens, completionTokens }: Omit<AttemptRow, keyof StoredCompletion | 'ok' | 'judged'>,
    stored: StoredCompletion,
    count: CountTokens,
  ): AttemptRow & V {
    const { ok, ...verdict } = this.#rounds.judge(task, stored, count);
    const judged = this.#prepared.judgedBy(task);
    return { key, id, attempt, ok, ...verdict, ...stored, promptTokens, completionTokens, judged } as AttemptRow & V;
  }

  #open(): Promise<OpenModel> {
    const { model, trained } = this.#rounds;
    const { services } = this.#context;
    if (trained === undefined) return services.open(model);
    return trained.adapter ? services.open(model, { adapter: trained.path }) : services.open(trained.path);
  }

  /** Says in the manifest what was done; nothing where nothing was. @param failed tasks without a usable row */
  record(state: 'running' | 'done', failed: number): void {
    if (!this.#worked) return;
    const { label, tasks } = this.#rounds;
    const work = {
      kept: tasks.length - failed,
      failed,
      seconds: (performance.now() - this.#begin) / 1000,
      deviceSeconds: this.#deviceSeconds,
      promptTokens: this.#promptTokens,
      tokens: this.#tokens,
      joules: this.#energy.stop(),
    };
    this.#context.folder.record(label, state, work, this.#prepared.inputs);
  }
}

function counter(tokenizer: TextTokenizer): CountTokens {
  return (text) => tokenizer.encode(text).length;
}

function storedCompletion({ text, finishReason, error }: TextCompletion, prefix: string): StoredCompletion {
  return { response: prefix + text, finishReason, ...(error === undefined ? {} : { error }) };
}

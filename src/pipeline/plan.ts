/**
 * What a run would do, found out without doing it: stage by stage, rows that are there, rows to do, and why. It asks the
 * same questions of the same files as the stages themselves; nothing is written and no model is opened.
 */
import { answerOnlyFile, answerOnlyRows } from './answer_only.js';
import { type ArmData, type ArmReasoning, armRows, withoutReasoning } from './arms.js';
import { type Compressions, compressRounds } from './compress.js';
import type { StudentConfig, StudyConfig } from './config.js';
import { type StageName, type StudyContext, stageNames } from './context.js';
import { evaluateRounds } from './evaluate.js';
import { silentProgress } from './progress.js';
import { loadQuestions, type StudyQuestions } from './questions.js';
import { ReasoningSource } from './reasoning_source.js';
import { type AttemptRow, type Inputs, prepareRounds, type Rounds, type RoundTask } from './rounds.js';
import type { Row, RowFile } from './row_file.js';
import { RunFolder } from './run_folder.js';
import type { Services } from './services.js';
import { type Traces, traceRounds, verifiedTraces } from './traces.js';
import { finishedTraining, identifyTraining } from './train.js';
import { truncateTasks } from './truncate.js';

export interface PlannedStage {
  stage: StageName;
  /** As in the manifest: `compress short`, `train small raw`. */
  label: string;
  state: 'done' | 'to do' | 'waits';
  /** Rows that stay, and rows to do that are known so far (null: not until what it waits for is there). */
  there: number;
  todo: number | null;
  /** Rows that stay and are judged again, by their stored text; what comes of it decides what else is to do. */
  verify: number;
  /** Rows of other settings or data, which go. */
  stale: number;
  /** Why there is something to do; empty when there is not. */
  why: string;
}

export interface StudyPlan {
  stages: PlannedStage[];
  questions: StudyQuestions;
}

/** A context that only looks. */
export async function lookingContext(config: StudyConfig, services: Services): Promise<StudyContext> {
  return {
    config,
    services,
    folder: RunFolder.look(config.run),
    signal: new AbortController().signal,
    progress: silentProgress,
    numerics: await services.numerics(),
    mayRun: new Set(stageNames),
  };
}

/** @throws {UserError} for questions that cannot be read, and row files that are damaged */
export async function planStudy(context: StudyContext): Promise<StudyPlan> {
  const planner = new Planner(context);
  const questions = await loadQuestions(context);
  await planner.plan(questions);
  return { stages: planner.stages, questions };
}

class Planner {
  readonly stages: PlannedStage[] = [];
  readonly #context: StudyContext;

  constructor(context: StudyContext) {
    this.#context = context;
  }

  async plan(questions: StudyQuestions): Promise<void> {
    const { config } = this.#context;
    const rounds = traceRounds(this.#context, questions.train);
    const keys = await this.#rounds(rounds);
    const traces = keys === null ? null : verifiedTraces(rounds.file, keys, questions.train);
    const arms = traces === null ? this.#withoutTraces() : await this.#arms(traces);
    const data = traces === null || arms === null ? null : armRows(config, traces, arms);
    for (const student of config.students) await this.#student(student, data, questions);
  }

  /** @returns the arms' reasoning, null while one of them is not complete */
  async #arms(traces: Traces): Promise<Map<string, ArmReasoning> | null> {
    const { config } = this.#context;
    const arms = new Map<string, ArmReasoning>([['raw', traces.source]]);
    const compressions = new Map<string, Compressions['source']>();
    for (const compressor of config.compressors) {
      const rounds = compressRounds(this.#context, compressor, traces);
      const keys = await this.#rounds(rounds);
      if (keys === null) continue;
      const source = new ReasoningSource(rounds.file, keys);
      compressions.set(compressor.name, source);
      arms.set(compressor.name, source);
    }
    let complete = compressions.size === config.compressors.length;
    if (config.truncate !== null) {
      const like = compressions.get(config.truncate.like);
      if (like === undefined) this.#waits('truncate', 'truncate', `waits for compress ${config.truncate.like}`);
      else {
        const { file, tasks, inputs } = await truncateTasks(this.#context, config.truncate, traces, like);
        const keys = tasks.map(({ key }) => key);
        const done = this.#rows('truncate', 'truncate', file, keys, inputs);
        if (done) arms.set('truncated', new ReasoningSource(file, keys));
        complete &&= done;
      }
    }
    const answers = [...answerOnlyRows(traces)].map(({ key }) => key);
    this.#rows('answer-only', 'answer-only', answerOnlyFile(this.#context), answers, {});
    arms.set('answer-only', withoutReasoning(new Set(traces.questions.map(({ id }) => id))));
    return complete ? arms : null;
  }

  #withoutTraces(): null {
    const { compressors, truncate } = this.#context.config;
    for (const { name } of compressors) this.#waits('compress', `compress ${name}`, 'waits for traces');
    if (truncate !== null) this.#waits('truncate', 'truncate', `waits for compress ${truncate.like}`);
    this.#waits('answer-only', 'answer-only', 'waits for traces');
    return null;
  }

  async #student(student: StudentConfig, data: Map<string, ArmData> | null, questions: StudyQuestions): Promise<void> {
    const { config } = this.#context;
    const trained = new Map<string, { arm: string; key: string } | null>();
    for (const arm of student.arms) {
      const armData = data?.get(arm) ?? null;
      trained.set(
        arm,
        armData === null ? this.#waitingTraining(student, arm) : await this.#training(student, arm, armData),
      );
    }
    if (config.evaluate.baseline) await this.#rounds(evaluateRounds(this.#context, student, null, questions.eval));
    for (const [arm, training] of trained) {
      const label = `evaluate ${student.name} ${arm}`;
      if (training === null) this.#waits('evaluate', label, `waits for train ${student.name} ${arm}`);
      else await this.#rounds(evaluateRounds(this.#context, student, training, questions.eval));
    }
  }

  #waitingTraining(student: StudentConfig, arm: string): null {
    this.#waits('train', `train ${student.name} ${arm}`, 'waits for the arms that it is matched with');
    return null;
  }

  async #training(student: StudentConfig, arm: string, data: ArmData): Promise<{ arm: string; key: string } | null> {
    const label = `train ${student.name} ${arm}`;
    const { key, inputs } = await identifyTraining(this.#context, student, data);
    const done = finishedTraining(this.#context, student, arm, key) !== null;
    const why = done ? '' : this.#why(label, inputs, { stale: 0, there: 1, verify: 0 });
    this.stages.push({
      stage: 'train',
      label,
      state: done ? 'done' : 'to do',
      there: done ? data.size : 0,
      todo: done ? 0 : data.size,
      verify: 0,
      stale: 0,
      why,
    });
    return done ? { arm, key } : null;
  }

  /** @returns the keys of all attempts' rows; null when some are to be done */
  async #rounds<T extends RoundTask, V extends Pick<AttemptRow, 'ok' | 'reason'>>(
    rounds: Rounds<T, V>,
  ): Promise<string[] | null> {
    const { label, stage, file, tasks, attempts } = rounds;
    const { inputs, keyOf, judgedBy } = await prepareRounds<T>(this.#context, rounds);
    const keys: string[] = [];
    let pending = tasks;
    for (let attempt = 1; attempt <= attempts && pending.length > 0; attempt++) {
      const wanted = pending.map((task) => keyOf(task, attempt));
      const missing = wanted.filter((key) => !file.has(key)).length;
      const verify = pending.filter(
        (task, index) => file.has(wanted[index]!) && file.judgedBy(wanted[index]!) !== judgedBy(task),
      ).length;
      for (const key of wanted) keys.push(key);
      if (missing + verify > 0) {
        const there = keys.length - missing;
        // Later attempts may still be wanted: what is judged again decides.
        const stale = verify > 0 ? 0 : file.size - there;
        const why = this.#why(label, inputs, { stale, there, verify });
        const more = attempt < attempts ? `; up to ${attempts - attempt} more tries for those that fail` : '';
        this.stages.push({ stage, label, state: 'to do', there, todo: missing, verify, stale, why: why + more });
        file.close();
        return null;
      }
      pending = pending.filter((_, index) => !file.isUsable(wanted[index]!));
    }
    this.stages.push({
      stage,
      label,
      state: 'done',
      there: keys.length,
      todo: 0,
      verify: 0,
      stale: file.size - keys.length,
      why: '',
    });
    return keys;
  }

  #rows<R extends Row>(stage: StageName, label: string, file: RowFile<R>, keys: string[], inputs: Inputs): boolean {
    const there = keys.filter((key) => file.has(key)).length;
    const todo = keys.length - there;
    const stale = file.size - there;
    const why = todo === 0 ? '' : this.#why(label, inputs, { stale, there, verify: 0 });
    this.stages.push({ stage, label, state: todo === 0 ? 'done' : 'to do', there, todo, verify: 0, stale, why });
    return todo === 0;
  }

  #waits(stage: StageName, label: string, why: string): void {
    this.stages.push({ stage, label, state: 'waits', there: 0, todo: null, verify: 0, stale: 0, why });
  }

  /** In words, by what the stage depended on when it last worked. */
  #why(
    label: string,
    inputs: Inputs,
    { stale, there, verify }: Pick<PlannedStage, 'stale' | 'there' | 'verify'>,
  ): string {
    const before = this.#context.folder.manifest.stages[label];
    if (before === undefined) return 'not begun';
    const changed = Object.keys(inputs).filter((name) => before.inputs[name] !== inputs[name]);
    if (changed.length > 0) return `changed since: ${changed.join(', ')}`;
    if (before.state === 'running') return 'not finished';
    if (verify > 0) return 'changed since: expected answers, or when a row is usable';
    if (stale > 0) return 'changed since: the rows that it works on';
    return there > 0 ? 'more rows are asked for' : 'its files are gone';
  }
}

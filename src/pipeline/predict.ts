/**
 * What a run will take: tokens, seconds and device-hours, stage by stage. Lengths come from the rows that are there, else
 * from priors that are named in `basis`; speeds come from this machine.
 */
import type { Question } from '../data/questions.js';
import { studentPrompt } from './arms.js';
import { baselineArm, type StudentConfig } from './config.js';
import { modelFingerprint, type StudyContext } from './context.js';
import { armOf } from './costs.js';
import { chat } from './messages.js';
import type { PlannedStage, StudyPlan } from './plan.js';
import type { ModelRates, RateBook } from './rates.js';
import type { AttemptRow } from './rounds.js';
import { RowFile } from './row_file.js';
import type { ChatMessage, TextTokenizer } from './services.js';

export interface Prediction {
  /** What it rests on, in a sentence. */
  basis: string;
  /** Tokens written or trained, and seconds, by label. */
  stages: Record<string, { tokens: number; seconds: number }>;
}

/** Where nothing has been sampled. The paper's teachers and compressors, and round figures of ours. */
const priors = {
  responseTokens: 2000,
  /** Of an untrained student. */
  untrainedTokens: 500,
  solvedShare: 0.7,
  usableShare: 0.9,
  /** Of the trace's tokens. */
  compression: 0.15,
} as const;

/** Tokens of training for each token of a forward pass: forward and backward, less what a frozen base needs. */
const trainingCost = { lora: 2, full: 3 } as const;
/** Running forward twice, to save memory. */
const recomputation = 1;

/** Prompts that are tokenised to know how long they are; rows that are read to know what they became. */
const sampledPrompts = 24;
const sampledRows = 400;
/** Of a chat template, for every turn. */
const tokensOfTurn = 6;

interface Work {
  label: string;
  model: string;
  rows: number;
  /** Per row: prompt tokens that have to be computed, what the prefix cache does not hold; and tokens written or trained. */
  prompt: number;
  tokens: number;
  /** Tokens through the model per row; null for inference. */
  training: { method: 'lora' | 'full'; through: number; recomputes: boolean } | null;
}

interface Sampled {
  rows: number;
  tokens: number;
  usable: number;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Mean length and share of usable rows among those of a file, whatever settings they were made with. */
function sample(context: StudyContext, ...path: string[]): Sampled | null {
  const file = new RowFile<AttemptRow>(context.folder.file(...path), { readOnly: true });
  const keys = [...file.keys()];
  const step = Math.max(1, Math.floor(keys.length / sampledRows));
  const rows = keys.filter((_, index) => index % step === 0).map((key) => file.read(key));
  file.close();
  if (rows.length === 0) return null;
  const first = rows.filter(({ attempt }) => attempt === 1);
  return {
    rows: keys.length,
    tokens: mean(rows.map(({ completionTokens }) => completionTokens)),
    usable: mean((first.length > 0 ? first : rows).map(({ ok }) => Number(ok))),
  };
}

/** Length of prompts, and what of it all of them begin with: that part is computed once. */
function promptTokens(tokenizer: TextTokenizer, prompts: readonly ChatMessage[][]): { all: number; fresh: number } {
  const encoded = prompts.map((messages) => messages.flatMap(({ content }) => [...tokenizer.encode(content), -1]));
  let shared = 0;
  while (
    encoded.length > 1 &&
    encoded.every((tokens) => shared < tokens.length && tokens[shared] === encoded[0]![shared])
  )
    shared++;
  const all = mean(encoded.map((tokens, index) => tokens.length + tokensOfTurn * prompts[index]!.length));
  return { all, fresh: all - shared };
}

function spread<T>(items: readonly T[], count: number): T[] {
  const step = Math.max(1, Math.floor(items.length / count));
  return items.filter((_, index) => index % step === 0).slice(0, count);
}

/** How many attempts, and how many tasks are done in the end, when each attempt succeeds with a probability. */
function attempts(tasks: number, success: number, most: number): { rows: number; done: number } {
  const failing = 1 - success;
  const rows = success === 0 ? tasks * most : (tasks * (1 - failing ** most)) / success;
  return { rows, done: tasks * (1 - failing ** most) };
}

class Expectation {
  readonly work: Work[] = [];
  readonly assumed: string[] = [];
  sampled = 0;
  readonly #context: StudyContext;
  readonly #questions: StudyPlan['questions'];

  constructor(context: StudyContext, questions: StudyPlan['questions']) {
    this.#context = context;
    this.#questions = questions;
  }

  async build(): Promise<void> {
    const { config, services } = this.#context;
    const { teacher, compressors } = config;
    const questions = this.#questions.train;
    const teacherTokenizer = await services.tokenizer(teacher.model);
    const asked = spread(questions, sampledPrompts).map(({ question }) =>
      chat(teacher.system, teacher.prompt, { question }, teacher.examples),
    );
    const traces = this.#use(sample(this.#context, 'traces.jsonl'), () => ({
      tokens: Math.min(teacher.sampling.maxTokens ?? Number.POSITIVE_INFINITY, priors.responseTokens),
      usable: priors.solvedShare,
      assumption: `traces of ${Math.min(teacher.sampling.maxTokens ?? Number.POSITIVE_INFINITY, priors.responseTokens)} tokens, ${priors.solvedShare * 100} % right`,
    }));
    const solved = attempts(questions.length, traces.usable, teacher.attempts);
    const prompt = promptTokens(teacherTokenizer, asked);
    this.work.push(inference('traces', teacher.model, solved.rows, prompt.fresh, traces.tokens));

    let matched = solved.done;
    const reasoning = new Map<string, number>([['raw', traces.tokens]]);
    for (const compressor of compressors) {
      const { name, model, sampling, system, prompt: template, examples } = compressor;
      const compressed = this.#use(sample(this.#context, 'compressed', `${name}.jsonl`), () => ({
        tokens: Math.min(sampling.maxTokens ?? Number.POSITIVE_INFINITY, priors.compression * traces.tokens),
        usable: priors.usableShare,
        assumption: `compressions of ${priors.compression * 100} % of a trace, ${priors.usableShare * 100} % usable`,
      }));
      const tried = attempts(solved.done, compressed.usable, compressor.attempts);
      const tokenizer = await services.tokenizer(model);
      const around = spread(questions, sampledPrompts).map(({ question, answer }) =>
        chat(system, template, { question, answer, reasoning: '' }, examples),
      );
      const fresh = promptTokens(tokenizer, around).fresh + traces.tokens;
      this.work.push(inference(`compress ${name}`, model, tried.rows, fresh, compressed.tokens));
      reasoning.set(name, compressed.tokens);
      if (name === config.truncate?.like) reasoning.set('truncated', compressed.tokens);
      matched = Math.min(matched, tried.done);
    }
    reasoning.set('answer-only', 0);
    for (const student of config.students) await this.#student(student, matched, reasoning);
  }

  async #student(student: StudentConfig, rows: number, reasoning: ReadonlyMap<string, number>): Promise<void> {
    const { config, services } = this.#context;
    const tokenizer = await services.tokenizer(student.model);
    const prompts = (questions: readonly Question[]) =>
      promptTokens(
        tokenizer,
        spread(questions, sampledPrompts).map((question) => studentPrompt(config, question)),
      );
    const trained = prompts(this.#questions.train);
    const asked = prompts(this.#questions.eval);
    const answer = tokenizer.encode(config.target.answer + config.target.reasoning).length;
    const { epochs, validationSplit, activationCheckpointing } = student.training;
    const cap = config.evaluate.maxTokens;
    for (const arm of student.arms) {
      const target = reasoning.get(arm)! + answer;
      this.work.push({
        label: `train ${student.name} ${arm}`,
        model: student.model,
        rows: rows * epochs * (1 - validationSplit),
        prompt: 0,
        tokens: target,
        training: {
          method: student.method,
          through: trained.all + target,
          recomputes: activationCheckpointing === 'layer',
        },
      });
    }
    for (const arm of [...(config.evaluate.baseline ? [baselineArm] : []), ...student.arms]) {
      const path = ['evaluations', student.name, `${arm}.jsonl`];
      const expected = arm === baselineArm ? priors.untrainedTokens : reasoning.get(arm)! + answer;
      const answered = this.#use(sample(this.#context, ...path), () => ({
        tokens: Math.min(cap, expected),
        usable: 1,
        assumption: `a student writes as much as it was trained on, untrained ${priors.untrainedTokens} tokens`,
      }));
      const label = `evaluate ${student.name} ${arm}`;
      this.work.push(inference(label, student.model, this.#questions.eval.length, asked.fresh, answered.tokens));
    }
  }

  #use(sampled: Sampled | null, prior: () => { tokens: number; usable: number; assumption: string }) {
    if (sampled !== null) {
      this.sampled += sampled.rows;
      return sampled;
    }
    const { assumption, ...values } = prior();
    if (!this.assumed.includes(assumption)) this.assumed.push(assumption);
    return values;
  }

  basis(): string {
    const parts = [
      ...(this.sampled > 0 ? [`${this.sampled} rows sampled so far`] : []),
      ...(this.assumed.length > 0 ? [`assumed: ${this.assumed.join('; ')}`] : []),
    ];
    return `Lengths from ${parts.join(', ')}.`;
  }
}

function inference(label: string, model: string, rows: number, prompt: number, tokens: number): Work {
  return { label, model, rows, prompt, tokens, training: null };
}

function secondsOf({ rows, prompt, tokens, training }: Work, { inference, ...trained }: ModelRates): number {
  if (inference === undefined) return Number.NaN;
  if (training === null) return rows * (prompt / inference.prefill + tokens / inference.decode);
  const { method, through, recomputes } = training;
  const cost = trainingCost[method] + (recomputes ? recomputation : 0);
  return (rows * through) / (trained[method] ?? inference.prefill / cost);
}

export interface StagePrediction {
  label: string;
  arm: string | null;
  /** Of the whole stage. */
  tokens: number;
  seconds: number;
  /** Of what is left of it. */
  left: number;
}

/**
 * @param measure how fast a model is, where the book does not know
 * @returns the stages in their order, and what is to be kept for the report
 */
export async function predict(
  context: StudyContext,
  plan: StudyPlan,
  rates: RateBook,
  measure: (model: string) => Promise<ModelRates>,
): Promise<{ stages: StagePrediction[]; prediction: Prediction }> {
  const expectation = new Expectation(context, plan.questions);
  await expectation.build();
  const known = new Map<string, ModelRates>();
  const rateOf = async (model: string): Promise<ModelRates> => {
    const fingerprint = await modelFingerprint(context, model);
    let found = known.get(fingerprint) ?? rates.of(fingerprint);
    if (found.inference === undefined) {
      found = { ...found, ...(await measure(model)) };
      rates.keep(fingerprint, found);
    }
    known.set(fingerprint, found);
    return found;
  };
  const stages: StagePrediction[] = [];
  for (const work of expectation.work) {
    const record = context.folder.manifest.stages[work.label];
    const share = shareLeft(plan.stages.find(({ label }) => label === work.label));
    // What was done tells best how long the rest takes.
    const own = record === undefined || share === 1 ? null : record.seconds / (1 - share);
    const seconds = own ?? secondsOf(work, await rateOf(work.model));
    stages.push({
      label: work.label,
      arm: armOf(work.label),
      tokens: Math.round(work.rows * work.tokens),
      seconds,
      left: seconds * share,
    });
  }
  const trainsUnmeasured = expectation.work.some(
    ({ training, model }) =>
      training !== null && known.get(context.folder.manifest.models[model]!)?.[training.method] === undefined,
  );
  const basis = `${expectation.basis()} Speeds measured on this machine${trainsUnmeasured ? '; training reckoned from the speed of prompts' : ''}.`;
  const kept = stages.map(({ label, tokens, seconds }) => [label, { tokens, seconds: Math.round(seconds * 10) / 10 }]);
  return { stages, prediction: { basis, stages: Object.fromEntries(kept) } };
}

function shareLeft(stage: PlannedStage | undefined): number {
  if (stage === undefined || stage.todo === null) return 1;
  return stage.todo === 0 ? 0 : stage.todo / (stage.todo + stage.there);
}

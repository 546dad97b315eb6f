/** What a study will do, in rows and tokens, before it does it: lengths from rows that are there, else from priors. */
import type { Question } from '../data/questions.js';
import { studentPrompt } from './arms.js';
import { baselineArm, type CompressorConfig, type StudentConfig } from './config.js';
import type { StudyContext } from './context.js';
import { type Assumption, assume, type Estimate, lengthsOf, mean, observe, usableLength } from './lengths.js';
import { chat } from './messages.js';
import { fillTemplate } from './prompt_template.js';
import type { StudyQuestions } from './questions.js';
import type { ChatMessage, TextTokenizer, TrainingWork } from './services.js';

/** Where nothing has been sampled. The paper's teachers and compressors, and round figures of ours. */
const priors = {
  responseTokens: 2000,
  /** Of an untrained student. */
  untrainedTokens: 500,
  /** Of the trace's tokens. */
  compression: 0.15,
  solved: { low: 0.2, expected: 0.5, high: 0.9 },
  /** Compressions, where anything goes that is not longer, and where more is asked of them. */
  usable: { low: 0.6, expected: 0.9, high: 1 },
  usableAndStrict: { low: 0.2, expected: 0.5, high: 0.9 },
  /** How far off lengths may be: with examples of what is wanted, and without. */
  withExamples: 2,
  without: 4,
  /** A student that was trained writes what it was trained on. */
  trained: 1.5,
} as const;

const certain = { low: 1, expected: 1, high: 1 };

/** Prompts that are tokenised to know how long they are. */
const sampledPrompts = 24;
/** Of a chat template, for every turn. */
const tokensOfTurn = 6;

/** Prompts of one kind: some of them, with their mean length and what of it not all of them begin with: that part is computed for each. */
interface Prompts {
  messages: readonly ChatMessage[][];
  all: number;
  fresh: number;
}

/** One batch that a model answers. */
export interface Round {
  rows: number;
  lengths: readonly number[];
}

/** A stage's work with a model. */
export interface Work {
  label: string;
  model: string;
  /** Tokens written, or trained. */
  tokens: number;
  inference: { rounds: Round[]; fresh: number } | null;
  /** Tokens through the model, over all epochs. */
  training: { student: StudentConfig; through: number } | null;
}

/** What is needed to try out how fast a stage's model is. */
export interface Sample {
  prompts: readonly ChatMessage[][];
  /** Mean tokens of a prompt, and of what stands behind it while the stage writes. */
  prompt: number;
  behind: number;
  /** Sequences of its first round. */
  rows: number;
}

function spread<T>(items: readonly T[], count: number): T[] {
  const step = Math.max(1, Math.floor(items.length / count));
  return items.filter((_, index) => index % step === 0).slice(0, count);
}

function promptsOf(tokenizer: TextTokenizer, messages: readonly ChatMessage[][]): Prompts {
  const encoded = messages.map((turns) => turns.flatMap(({ content }) => [...tokenizer.encode(content), -1]));
  let shared = 0;
  while (
    encoded.length > 1 &&
    encoded.every((tokens) => shared < tokens.length && tokens[shared] === encoded[0]![shared])
  )
    shared++;
  const all = mean(encoded.map((tokens, index) => tokens.length + tokensOfTurn * messages[index]!.length));
  return { messages, all, fresh: all - shared };
}

/** Rounds of rejection sampling where each attempt succeeds with a probability, and how many tasks are done in the end. */
function attempts(tasks: number, share: number, most: number, lengths: readonly number[]) {
  const rounds: Round[] = [];
  let pending = tasks;
  for (let attempt = 0; attempt < most && pending >= 0.5; attempt++) {
    rounds.push({ rows: pending, lengths });
    pending *= 1 - share;
  }
  return { rounds, done: tasks - pending };
}

const tokensOf = (rounds: readonly Round[]) => rounds.reduce((sum, { rows, lengths }) => sum + rows * mean(lengths), 0);

interface CompressorFacts {
  compressor: CompressorConfig;
  prompts: Prompts;
  estimate: Estimate;
}

interface StudentFacts {
  student: StudentConfig;
  trained: Prompts;
  asked: Prompts;
  /** Tokens of a target's answer, the end of the turn among them, and of what stands around the reasoning. */
  answer: number;
  around: number;
  /** Null: what it was trained to write. */
  evaluations: Map<string, Estimate | null>;
}

/** What is known about a study; `work` reckons from it under any assumption. */
export class Expectation {
  readonly #context: StudyContext;
  readonly #questions: StudyQuestions;
  readonly #teacher: { prompts: Prompts; estimate: Estimate };
  readonly #compressors: CompressorFacts[] = [];
  readonly #students: StudentFacts[] = [];

  static async of(context: StudyContext, questions: StudyQuestions): Promise<Expectation> {
    const { config, services, folder } = context;
    const { teacher } = config;
    const tokenizer = await services.tokenizer(teacher.model);
    const asked = spread(questions.train, sampledPrompts);
    const cap = teacher.sampling.maxTokens ?? Number.POSITIVE_INFINITY;
    const shown = teacher.examples.map(({ response }) => tokenizer.encode(response).length);
    const estimate =
      observe(folder.file('traces.jsonl'), cap) ??
      (shown.length > 0
        ? assume('traces', mean(shown), priors.withExamples, cap, priors.solved)
        : assume('traces', Math.min(priors.responseTokens, cap / 2), priors.without, cap, priors.solved));
    const messages = asked.map(({ question }) => chat(teacher.system, teacher.prompt, { question }, teacher.examples));
    const expectation = new Expectation(context, questions, { prompts: promptsOf(tokenizer, messages), estimate });
    for (const compressor of config.compressors) await expectation.#addCompressor(compressor, asked);
    for (const student of config.students) await expectation.#addStudent(student, asked);
    return expectation;
  }

  private constructor(
    context: StudyContext,
    questions: StudyQuestions,
    teacher: { prompts: Prompts; estimate: Estimate },
  ) {
    this.#context = context;
    this.#questions = questions;
    this.#teacher = teacher;
  }

  async #addCompressor(compressor: CompressorConfig, asked: readonly Question[]): Promise<void> {
    const { services, folder } = this.#context;
    const { name, model, system, prompt, examples, sampling, keepAnswer, maxRatio } = compressor;
    const usable = keepAnswer || maxRatio < 1 ? priors.usableAndStrict : priors.usable;
    const tokenizer = await services.tokenizer(model);
    const cap = sampling.maxTokens ?? Number.POSITIVE_INFINITY;
    const shown = examples.map(({ response }) => tokenizer.encode(response).length);
    const traces = mean(this.#teacher.estimate.lengths);
    const estimate =
      observe(folder.file('compressed', `${name}.jsonl`), cap) ??
      (shown.length > 0
        ? assume(`compressions by ${name}`, mean(shown), priors.withExamples, cap, usable)
        : assume(`compressions by ${name}`, Math.min(cap, priors.compression * traces), priors.without, cap, usable));
    const messages = asked.map(({ question, answer }) =>
      chat(system, prompt, { question, answer, reasoning: '' }, examples),
    );
    this.#compressors.push({ compressor, prompts: promptsOf(tokenizer, messages), estimate });
  }

  async #addStudent(student: StudentConfig, asked: readonly Question[]): Promise<void> {
    const { config, services, folder } = this.#context;
    const tokenizer = await services.tokenizer(student.model);
    const promptsFor = (questions: readonly Question[]) =>
      promptsOf(
        tokenizer,
        questions.map((question) => studentPrompt(config, question)),
      );
    const answers = asked.map(
      ({ answer }) => tokenizer.encode(fillTemplate(config.target.answer, { answer, response: answer })).length,
    );
    const cap = config.evaluate.maxTokens;
    const evaluations = new Map<string, Estimate | null>();
    for (const arm of [...(config.evaluate.baseline ? [baselineArm] : []), ...student.arms]) {
      const untrained = () =>
        assume(
          'answers of untrained students',
          Math.min(priors.untrainedTokens, cap / 2),
          priors.without,
          cap,
          certain,
        );
      const seen = observe(folder.file('evaluations', student.name, `${arm}.jsonl`), cap);
      evaluations.set(arm, seen ?? (arm === baselineArm ? untrained() : null));
    }
    this.#students.push({
      student,
      trained: promptsFor(asked),
      asked: promptsFor(spread(this.#questions.eval, sampledPrompts)),
      answer: mean(answers) + 1,
      around: tokenizer.encode(fillTemplate(config.target.reasoning, { reasoning: '' })).length,
      evaluations,
    });
  }

  /** Stage by stage, in their order. */
  work(assumption: Assumption): Work[] {
    const { config } = this.#context;
    const { teacher } = config;
    const { prompts, estimate } = this.#teacher;
    const traces = lengthsOf(estimate, assumption);
    const solved = attempts(this.#questions.train.length, estimate.share[assumption.share], teacher.attempts, traces);
    const work = [inferenceWork('traces', teacher.model, solved.rounds, prompts.fresh)];
    let matched = solved.done;
    const reasoning = new Map<string, number>([['raw', usableLength(estimate, assumption)]]);
    for (const { compressor, prompts, estimate } of this.#compressors) {
      const { name, model } = compressor;
      const lengths = lengthsOf(estimate, assumption);
      const tried = attempts(solved.done, estimate.share[assumption.share], compressor.attempts, lengths);
      work.push(inferenceWork(`compress ${name}`, model, tried.rounds, prompts.fresh + reasoning.get('raw')!));
      const usable = usableLength(estimate, assumption);
      reasoning.set(name, usable);
      if (name === config.truncate?.like) reasoning.set('truncated', usable);
      matched = Math.min(matched, tried.done);
    }
    for (const facts of this.#students) work.push(...this.#studentWork(facts, matched, reasoning, assumption));
    return work;
  }

  #studentWork(
    { student, trained, asked, answer, around, evaluations }: StudentFacts,
    rows: number,
    reasoning: ReadonlyMap<string, number>,
    assumption: Assumption,
  ): Work[] {
    const { epochs, validationSplit } = student.training;
    const seen = rows * epochs * (1 - validationSplit);
    const targetOf = (arm: string) => answer + (arm === 'answer-only' ? 0 : around + reasoning.get(arm)!);
    const work: Work[] = student.arms.map((arm) => ({
      label: `train ${student.name} ${arm}`,
      model: student.model,
      tokens: seen * targetOf(arm),
      inference: null,
      training: { student, through: seen * (trained.all + targetOf(arm)) },
    }));
    for (const [arm, estimate] of evaluations) {
      const lengths = lengthsOf(estimate ?? this.#trainedAnswers(targetOf(arm)), assumption);
      const rounds = [{ rows: this.#questions.eval.length, lengths }];
      work.push(inferenceWork(`evaluate ${student.name} ${arm}`, student.model, rounds, asked.fresh));
    }
    return work;
  }

  #trainedAnswers(tokens: number): Estimate {
    const cap = this.#context.config.evaluate.maxTokens;
    return assume('answers of students', Math.min(cap, tokens), priors.trained, cap, certain, false);
  }

  /** Prompts of a stage as it will see them; for compressions with questions in place of the reasoning that is not there yet. */
  sample(label: string): Sample {
    const expected = this.work({ length: 'expected', share: 'expected' }).find((work) => work.label === label)!;
    const [first] = expected.inference!.rounds;
    const written = mean(first!.lengths);
    const [stage, name] = label.split(' ');
    if (stage === 'traces') return sampleOf(this.#teacher.prompts, written, first!.rows);
    if (stage === 'compress') {
      const { prompts } = this.#compressors.find(({ compressor }) => compressor.name === name)!;
      return sampleOf(prompts, written, first!.rows, this.#teacher.estimate.usable);
    }
    return sampleOf(this.#students.find(({ student }) => student.name === name)!.asked, written, first!.rows);
  }

  /** What a student's training rows are like, in the arm `raw`. */
  trainingRow(student: StudentConfig): TrainingWork {
    const { trained, answer, around } = this.#students.find((facts) => facts.student === student)!;
    const target = this.#teacher.estimate.usable + around + answer;
    return { prompts: trained.messages, target, length: trained.all + target };
  }

  /** What it rests on, in a sentence. */
  basis(): string {
    const evaluations = this.#students.flatMap(({ evaluations }) => [...evaluations.values()]);
    const estimates = [this.#teacher.estimate, ...this.#compressors.map(({ estimate }) => estimate), ...evaluations];
    const rows = estimates.reduce((sum, estimate) => sum + (estimate?.rows ?? 0), 0);
    const assumed = [...new Set(estimates.map((estimate) => estimate?.assumed ?? ''))].filter((text) => text !== '');
    if (evaluations.includes(null)) assumed.push('students that write what they are trained on');
    const parts = [
      ...(rows > 0 ? [`from ${rows} rows sampled so far`] : []),
      ...(assumed.length > 0 ? [`assumed: ${assumed.join('; ')}`] : []),
    ];
    return `Lengths ${parts.join(', ')}.`;
  }
}

function sampleOf({ messages, all }: Prompts, written: number, rows: number, added = 0): Sample {
  // Half of what is written stands before a token on average; what was added stands there whole.
  return { prompts: messages, prompt: all, behind: Math.round(added + written / 2), rows: Math.round(rows) };
}

function inferenceWork(label: string, model: string, rounds: Round[], fresh: number): Work {
  return { label, model, tokens: tokensOf(rounds), inference: { rounds, fresh }, training: null };
}

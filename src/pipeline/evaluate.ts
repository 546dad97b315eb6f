/**
 * Stage 4: a student answers the held-out questions, greedily, with the prompt it was trained with and a cap on tokens
 * (paper §4). A response cut off at the cap is truncated and counts with whatever answer it states outright.
 */
import { answersEqual } from '../data/answers.js';
import { extractAnswer } from '../data/extract.js';
import type { Question } from '../data/questions.js';
import { studentPrompt } from './arms.js';
import { baselineArm, type StudentConfig } from './config.js';
import type { StudyContext } from './context.js';
import { splitResponse } from './reasoning.js';
import { type AttemptRow, completionFacts, type Rounds, runRounds } from './rounds.js';
import { RowFile } from './row_file.js';
import type { OpenModel, TextCompletion } from './services.js';
import { type TrainingResult, weightsFolder } from './train.js';

/** `ok` says that the answer is right. */
export interface EvaluationRow extends AttemptRow {
  expected: string;
  answer: string | null;
  response: string;
  /** Cut off at the cap. */
  truncated: boolean;
  reasoningCharacters: number;
  /** In the student's tokens. */
  reasoningTokens: number;
  finishReason: string;
}

interface EvaluateTask {
  id: string;
  question: Question;
}

export interface Evaluations {
  file: RowFile<EvaluationRow>;
  keys: string[];
}

/** @param trained the training's arm and identity; null evaluates the untrained student */
export function evaluateRounds(
  context: StudyContext,
  student: StudentConfig,
  trained: Pick<TrainingResult, 'arm' | 'key'> | null,
  questions: readonly Question[],
): Rounds<EvaluateTask, EvaluationRow> {
  const arm = trained?.arm ?? baselineArm;
  const weights = trained === null ? null : weightsFolder(context, student.name, arm);
  // An untrained student has no think block: all that it writes is its reasoning.
  const mode = trained === null ? 'all' : 'think';
  const { config, folder } = context;
  return {
    stage: 'evaluate',
    label: `evaluate ${student.name} ${arm}`,
    file: new RowFile<EvaluationRow>(folder.file('evaluations', student.name, `${arm}.jsonl`), folder),
    model: student.model,
    trained: trained === null ? undefined : { path: weights!, key: trained.key, adapter: student.method === 'lora' },
    tasks: questions.map((question) => ({ id: question.id, question })),
    prompt: ({ question }) => ({
      messages: studentPrompt(config, question),
      continuation: '',
      identity: { answer: question.answer, answerType: question.answerType, mode },
    }),
    attempts: 1,
    sampling: { temperature: 0, maxTokens: config.evaluate.maxTokens },
    settings: { prompt: { system: config.target.system, prompt: config.target.prompt } },
    judge: ({ question }, completion, model, row) => judge(question, completion, model, row, mode),
  };
}

/** @param trained the training's result; null evaluates the untrained student */
export async function runEvaluate(
  context: StudyContext,
  student: StudentConfig,
  trained: TrainingResult | null,
  questions: readonly Question[],
): Promise<Evaluations> {
  const rounds = evaluateRounds(context, student, trained, questions);
  const keys = await runRounds(context, rounds);
  return { file: rounds.file, keys };
}

function judge(
  question: Question,
  completion: TextCompletion,
  model: OpenModel,
  row: { key: string; id: string; attempt: number },
  mode: 'think' | 'all',
): EvaluationRow {
  const truncated = completion.finishReason === 'length';
  const { reasoning, final } = splitResponse(completion.text, mode);
  const extraction = final === null ? null : extractAnswer(question.answerType, final, { fallback: !truncated });
  const answer = extraction?.answer ?? null;
  const ok = answer !== null && answersEqual(question.answerType, question.answer, answer);
  let reason: string | null = null;
  if (completion.finishReason === 'error') reason = `error: ${completion.error ?? 'unknown'}`;
  else if (answer === null) reason = truncated ? 'cut off at the token limit' : 'no answer found';
  else if (!ok) reason = 'wrong answer';
  return {
    ...row,
    ok,
    ...(reason === null ? {} : { reason }),
    expected: question.answer,
    answer,
    response: completion.text,
    truncated,
    reasoningCharacters: reasoning.length,
    reasoningTokens: reasoning === '' ? 0 : model.tokenizer.encode(reasoning).length,
    ...completionFacts(completion),
  };
}

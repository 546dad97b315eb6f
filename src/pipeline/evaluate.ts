/**
 * Stage 4: a student answers the held-out questions, greedily, with the prompt it was trained with and a cap on tokens
 * (paper §4). A response cut off at the cap is truncated and counts with whatever answer it states outright.
 */
import type { Question } from '../data/questions.js';
import { studentPrompt } from './arms.js';
import { baselineArm, type StudentConfig } from './config.js';
import type { StudyContext } from './context.js';
import { type AttemptRow, type Rounds, runRounds } from './rounds.js';
import { RowFile } from './row_file.js';
import { type TrainingResult, weightsFolder } from './train.js';
import { type EvaluationVerdict, judgeEvaluation } from './verdicts.js';

export type EvaluationRow = AttemptRow & EvaluationVerdict;

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
): Rounds<EvaluateTask, EvaluationVerdict> {
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
    }),
    attempts: 1,
    sampling: { temperature: 0, maxTokens: config.evaluate.maxTokens },
    settings: { prompt: { system: config.target.system, prompt: config.target.prompt } },
    verdictDependsOn: ({ question: { answer, answerType } }) => ({ mode, answer, answerType }),
    judge: ({ question }, completion, count) => judgeEvaluation(question, completion, mode, count),
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

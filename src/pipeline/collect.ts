/** The results of a study in the form that the report takes. */

import type { ArmReport, ReportData } from '../report/report_data.js';
import { readMetrics } from '../training/metrics.js';
import type { CompressionRow } from './compress.js';
import { baselineArm, type StudyConfig } from './config.js';
import { type StudyContext, summariseReasons } from './context.js';
import type { EvaluationRow } from './evaluate.js';
import type { StudyQuestions } from './questions.js';
import type { Trace, TraceRow } from './traces.js';
import { type TrainingResult, weightsFolder } from './train.js';
import type { TruncatedRow } from './truncate.js';

export interface EvaluatedArm {
  /** Null for the untrained student. */
  training: TrainingResult | null;
  rows: EvaluationRow[];
}

export interface StudyResults {
  questions: StudyQuestions;
  traces: Trace[];
  attempts: TraceRow[];
  /** Every attempt, by compressor. */
  compressions: Map<string, CompressionRow[]>;
  truncated: TruncatedRow[] | null;
  /** By student, then by arm. */
  students: Map<string, Map<string, EvaluatedArm>>;
}

/** How many questions the report shows with all their traces. */
const samplesShown = 4;

export async function collectReport(context: StudyContext, results: StudyResults): Promise<ReportData> {
  const { config } = context;
  const { manifest } = context.folder;
  return {
    title: config.run.split(/[\\/]/).filter(Boolean).at(-1) ?? 'study',
    created: manifest.created,
    settings: settingsOf(config, manifest.machine),
    questions: { train: results.questions.train.length, eval: results.questions.eval.length },
    traces: traceReport(results),
    compressors: config.compressors.map((compressor) => {
      const rows = results.compressions.get(compressor.name) ?? [];
      const usable = rows.filter((row) => row.ok);
      return {
        name: compressor.name,
        model: compressor.model,
        traces: results.traces.length,
        usable: usable.length,
        failures: summariseReasons(rows),
        characters: usable.map((row) => row.characters),
        originalCharacters: usable.map((row) => row.originalCharacters),
        tokens: usable.map((row) => row.tokens),
        originalTokens: usable.map((row) => row.originalTokens),
      };
    }),
    truncated: results.truncated?.map((row) => row.tokens) ?? null,
    students: await Promise.all(
      config.students.map(async (student) => ({
        name: student.name,
        model: student.model,
        method: student.method,
        arms: await Promise.all(
          [...results.students.get(student.name)!].map(([arm, { training, rows }]) =>
            armReport(context, student.name, arm, training, rows),
          ),
        ),
      })),
    ),
    samples: sampleTraces(results),
    costs: Object.entries(manifest.stages).map(([stage, { seconds, tokens }]) => ({ stage, seconds, tokens })),
  };
}

function settingsOf(config: StudyConfig, machine: Record<string, string | number>): [string, string][] {
  return [
    ['Teacher', `${config.teacher.model}, at most ${config.teacher.attempts} attempts`],
    ['Compressors', config.compressors.map(({ name, model }) => `${name} (${model})`).join(', ')],
    ['Students', config.students.map(({ name, model, method }) => `${name} (${model}, ${method})`).join(', ')],
    ['Same questions in all arms', config.matched ? 'yes' : 'no'],
    ['Evaluation', `greedy, at most ${config.evaluate.maxTokens} tokens`],
    ['Seed', String(config.seed)],
    ['Device', `${config.device}, ${config.dtype}`],
    ...Object.entries(machine).map(([name, value]): [string, string] => [name, String(value)]),
  ];
}

function traceReport({ questions, traces, attempts }: StudyResults): ReportData['traces'] {
  const rounds = new Map<number, { asked: number; correct: number }>();
  for (const row of attempts) {
    const round = rounds.get(row.attempt) ?? { asked: 0, correct: 0 };
    rounds.set(row.attempt, { asked: round.asked + 1, correct: round.correct + Number(row.ok) });
  }
  return {
    questions: questions.train.length,
    correct: traces.length,
    rounds: [...rounds].sort(([a], [b]) => a - b).map(([round, counts]) => ({ round, ...counts })),
    failures: summariseReasons(attempts),
    characters: traces.map((trace) => trace.reasoning.length),
    tokens: traces.map((trace) => trace.row.completionTokens),
  };
}

async function armReport(
  context: StudyContext,
  student: string,
  arm: string,
  training: TrainingResult | null,
  rows: readonly EvaluationRow[],
): Promise<ArmReport> {
  const metrics = training === null ? [] : await readMetrics(`${weightsFolder(context, student, arm)}/metrics.jsonl`);
  return {
    arm,
    untrained: arm === baselineArm,
    training:
      training === null
        ? null
        : {
            rows: training.rows,
            tokens: training.tokensPerEpoch,
            epochs: training.epochs,
            seconds: training.seconds,
            finalLoss: training.finalLoss,
          },
    loss: metrics.map(({ step, loss }) => ({ step, loss })),
    outcomes: rows.map((row) => ({
      id: row.id,
      correct: row.ok,
      truncated: row.truncated,
      completionTokens: row.completionTokens,
      reasoningCharacters: row.reasoningCharacters,
      reasoningTokens: row.reasoningTokens,
    })),
  };
}

function sampleTraces({ traces, compressions, truncated }: StudyResults): ReportData['samples'] {
  const shorter = [...compressions].map(
    ([name, rows]) => [name, new Map(rows.filter((row) => row.ok).map((row) => [row.id, row.reasoning]))] as const,
  );
  if (truncated !== null) {
    shorter.push(['truncated', new Map(truncated.map((row) => [row.id, row.reasoning]))]);
  }
  return traces
    .filter(({ question }) => shorter.every(([, texts]) => texts.has(question.id)))
    .slice(0, samplesShown)
    .map(({ question, reasoning }) => ({
      question: question.question,
      answer: question.answer,
      texts: [
        { arm: 'raw', text: reasoning },
        ...shorter.map(([arm, texts]) => ({ arm, text: texts.get(question.id)! })),
      ],
    }));
}

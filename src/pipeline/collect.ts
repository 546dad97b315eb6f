/** The results of a study in the form that the report takes. Rows are read one by one; only their figures are kept. */

import type { ArmReport, CompressorReport, ReportData, Sample } from '../report/report_data.js';
import { readMetrics } from '../training/metrics.js';
import type { Compressions } from './compress.js';
import { baselineArm, type CompressorConfig, type StudyConfig } from './config.js';
import { type StudyContext, summariseReasons } from './context.js';
import { costFactors, predictedStages, stageCosts } from './costs.js';
import type { Evaluations } from './evaluate.js';
import type { StudyQuestions } from './questions.js';
import type { Traces } from './traces.js';
import { type TrainingResult, weightsFolder } from './train.js';
import type { Truncations } from './truncate.js';

export interface EvaluatedArm {
  /** Null for the untrained student. */
  training: TrainingResult | null;
  evaluations: Evaluations;
}

export interface StudyResults {
  questions: StudyQuestions;
  traces: Traces;
  compressions: Map<string, Compressions>;
  truncations: Truncations | null;
  /** By student, then by arm. */
  students: Map<string, Map<string, EvaluatedArm>>;
}

/** How many questions the report shows with all their traces. */
const samplesShown = 40;
/** Of a trace; a page of full traces of a reasoning model would be too large. */
const sampleCharacters = 6000;
/** For questions that name no dataset. */
const unnamedDataset = 'all';

type DatasetOf = (id: string) => string;

function datasetNames({ questions }: StudyResults): DatasetOf {
  const all = [...questions.train, ...questions.eval];
  const names = new Map(all.map(({ id, dataset }) => [id, dataset ?? unnamedDataset]));
  return (id) => names.get(id) ?? unnamedDataset;
}

export async function collectReport(context: StudyContext, results: StudyResults): Promise<ReportData> {
  const { config, folder } = context;
  const datasetOf = datasetNames(results);
  return {
    title: config.run.split(/[\\/]/).filter(Boolean).at(-1) ?? 'study',
    created: folder.manifest.created,
    settings: settingsOf(config, folder.manifest.machine),
    questions: { train: results.questions.train.length, eval: results.questions.eval.length },
    traces: traceReport(results, datasetOf),
    compressors: config.compressors.map((compressor) => compressorReport(results, compressor, datasetOf)),
    truncated: truncatedLengths(results),
    students: await Promise.all(
      config.students.map(async ({ name, model, method }) => ({
        name,
        model,
        method,
        arms: await Promise.all(
          [...results.students.get(name)!].map(([arm, evaluated]) =>
            armReport(context, name, arm, evaluated, datasetOf),
          ),
        ),
      })),
    ),
    samples: sampleTraces(results, datasetOf),
    costs: stageCosts(folder.manifest, config),
    factors: costFactors(config),
    prediction: predictedStages(folder.manifest),
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

function traceReport({ questions, traces }: StudyResults, datasetOf: DatasetOf): ReportData['traces'] {
  const rounds = new Map<number, { asked: number; correct: number }>();
  const lengths = new Map<string, { characters: number; tokens: number }>();
  for (const key of traces.keys) {
    const row = traces.file.read(key);
    const round = rounds.get(row.attempt) ?? { asked: 0, correct: 0 };
    rounds.set(row.attempt, { asked: round.asked + 1, correct: round.correct + Number(row.ok) });
    if (row.ok) lengths.set(row.id, { characters: row.reasoning.length, tokens: row.completionTokens });
  }
  const asked = new Map<string, number>();
  for (const { id } of questions.train) asked.set(datasetOf(id), (asked.get(datasetOf(id)) ?? 0) + 1);
  const correct = traces.questions.map(({ id }) => id);
  return {
    questions: questions.train.length,
    correct: correct.length,
    rounds: [...rounds].sort(([a], [b]) => a - b).map(([round, counts]) => ({ round, ...counts })),
    failures: summariseReasons(traces.file, traces.keys),
    datasets: correct.map(datasetOf),
    characters: correct.map((id) => lengths.get(id)!.characters),
    tokens: correct.map((id) => lengths.get(id)!.tokens),
    asked: [...asked].map(([dataset, count]) => ({ dataset, questions: count })),
  };
}

function compressorReport(
  { compressions, traces }: StudyResults,
  { name, model }: CompressorConfig,
  datasetOf: DatasetOf,
): CompressorReport {
  const { file, keys } = compressions.get(name)!;
  const usable = keys.filter((key) => file.isUsable(key));
  const report: CompressorReport = {
    name,
    model,
    traces: traces.questions.length,
    usable: usable.length,
    failures: summariseReasons(file, keys),
    datasets: [],
    characters: [],
    originalCharacters: [],
    tokens: [],
    originalTokens: [],
  };
  for (const key of usable) {
    const row = file.read(key);
    report.datasets.push(datasetOf(row.id));
    for (const length of ['characters', 'originalCharacters', 'tokens', 'originalTokens'] as const)
      report[length].push(row[length]);
  }
  return report;
}

function truncatedLengths({ truncations }: StudyResults): number[] | null {
  if (truncations === null) return null;
  return truncations.keys.map((key) => truncations.file.read(key).tokens);
}

async function armReport(
  context: StudyContext,
  student: string,
  arm: string,
  { training, evaluations }: EvaluatedArm,
  datasetOf: DatasetOf,
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
    outcomes: evaluations.keys.map((key) => {
      const row = evaluations.file.read(key);
      return {
        id: row.id,
        dataset: datasetOf(row.id),
        correct: row.ok,
        truncated: row.truncated,
        completionTokens: row.completionTokens,
        reasoningCharacters: row.reasoningCharacters,
        reasoningTokens: row.reasoningTokens,
      };
    }),
  };
}

/** Questions whose trace every compressor could shorten, spread evenly over the study. */
function sampleTraces({ traces, compressions, truncations }: StudyResults, datasetOf: DatasetOf): Sample[] {
  const everywhere = traces.questions.filter(({ id }) =>
    [...compressions.values()].every(({ source }) => source.has(id)),
  );
  const step = Math.max(1, everywhere.length / samplesShown);
  const shown = Array.from(
    { length: Math.min(samplesShown, everywhere.length) },
    (_, index) => everywhere[Math.floor(index * step)]!,
  );
  return shown.map((question) => {
    const { id, answer } = question;
    const shorter = [...compressions].map(([arm, { source }]) => ({ arm, row: source.row(id) }));
    const texts = [
      { arm: 'raw', text: traces.source.reasoning(id), tokens: shorter[0]!.row.originalTokens },
      ...shorter.map(({ arm, row }) => ({ arm, text: row.reasoning, tokens: row.tokens })),
    ];
    if (truncations?.source.has(id)) {
      const { reasoning, tokens } = truncations.source.row(id);
      texts.push({ arm: 'truncated', text: reasoning, tokens });
    }
    return {
      question: question.question,
      answer,
      dataset: datasetOf(id),
      texts: texts.map((entry) => ({ ...entry, text: shorten(entry.text) })),
    };
  });
}

function shorten(text: string): string {
  if (text.length <= sampleCharacters) return text;
  return `${text.slice(0, sampleCharacters)} … (${text.length - sampleCharacters} more characters)`;
}

/** A whole study, or some of its stages: every stage continues where it stopped. */
import { renderHtml } from '../report/html.js';
import { renderLatex } from '../report/latex.js';
import { renderMarkdown } from '../report/markdown.js';
import type { ReportData } from '../report/report_data.js';
import { runAnswerOnly } from './answer_only.js';
import { type ArmReasoning, armRows, withoutReasoning } from './arms.js';
import { collectReport, type EvaluatedArm, type StudyResults } from './collect.js';
import { runCompress } from './compress.js';
import { baselineArm, type StudyConfig } from './config.js';
import { type StageName, type StudyContext, stageNames } from './context.js';
import { runEvaluate } from './evaluate.js';
import { exportDatasets } from './export.js';
import { writeFileAtomically } from './files.js';
import { throwIfInterrupted } from './interrupted.js';
import { withLiveFile } from './live.js';
import type { Prediction } from './predict.js';
import { type Progress, silentProgress } from './progress.js';
import { loadQuestions } from './questions.js';
import { RunFolder } from './run_folder.js';
import type { Services } from './services.js';
import { watchForSleep } from './sleep.js';
import { runTraces } from './traces.js';
import { runTrain, type TrainingResult } from './train.js';
import { runTruncate, type Truncations } from './truncate.js';

export interface StudyOptions {
  services: Services;
  /** The stages to run; what they build on must be complete. Default: all. */
  stages?: readonly StageName[];
  /** The text of the study's file, kept in the run folder. */
  settings?: string;
  signal?: AbortSignal;
  progress?: Progress;
  /** What the work is expected to take, kept for the report to compare; only that of a run's beginning is. */
  prediction?: Prediction | null;
}

export interface StudyOutcome {
  /** What the report shows; null unless the stage `report` ran. */
  data: ReportData | null;
  /** Paths of what the stage `report` wrote. */
  reports: string[];
}

/**
 * Runs a study in its folder. Rows that are there are kept; starting again continues.
 * @throws {UserError} one line with the remedy: a stage without a single usable row, say
 * @throws {Interrupted} when the signal is aborted; everything finished is on disk
 */
export async function runStudy(config: StudyConfig, options: StudyOptions): Promise<StudyOutcome> {
  const { services, progress = silentProgress, prediction = null } = options;
  const folder = RunFolder.open(config.run, options.settings ?? null);
  const awake = watchForSleep((line) => progress.note(line));
  const live = withLiveFile(folder.file('live.json'), progress);
  try {
    const { manifest } = folder;
    manifest.machine = await services.machine();
    if (prediction !== null && Object.keys(manifest.stages).length === 0) manifest.prediction = prediction;
    folder.save();
    return await runStages({
      config,
      folder,
      services,
      progress: live.progress,
      signal: options.signal ?? new AbortController().signal,
      numerics: await services.numerics(),
      mayRun: new Set(options.stages ?? stageNames),
    });
  } finally {
    awake.stop();
    live.clear();
    folder.close();
  }
}

async function runStages(context: StudyContext): Promise<StudyOutcome> {
  const { config, folder } = context;
  const last = Math.max(...[...context.mayRun].map((stage) => stageNames.indexOf(stage)));
  const isPast = (stage: StageName) => stageNames.indexOf(stage) > last;
  const nothing: StudyOutcome = { data: null, reports: [] };

  const questions = await loadQuestions(context);
  const traces = await runTraces(context, questions.train);
  if (isPast('compress')) return nothing;

  const arms = new Map<string, ArmReasoning>([['raw', traces.source]]);
  const compressions: StudyResults['compressions'] = new Map();
  for (const compressor of config.compressors) {
    const compressed = await runCompress(context, compressor, traces);
    arms.set(compressor.name, compressed.source);
    compressions.set(compressor.name, compressed);
  }
  if (isPast('truncate')) return nothing;

  let truncations: Truncations | null = null;
  if (config.truncate !== null) {
    const like = compressions.get(config.truncate.like)!.source;
    truncations = await runTruncate(context, config.truncate, traces, like);
    arms.set('truncated', truncations.source);
  }
  if (isPast('answer-only')) return nothing;
  arms.set('answer-only', withoutReasoning(runAnswerOnly(context, traces)));
  if (isPast('train')) return nothing;

  const dataOf = armRows(config, traces, arms);
  const trainings = new Map<string, Map<string, TrainingResult>>();
  for (const student of config.students) {
    const trained = new Map<string, TrainingResult>();
    for (const arm of student.arms) trained.set(arm, await runTrain(context, student, arm, dataOf.get(arm)!));
    trainings.set(student.name, trained);
  }
  if (isPast('evaluate')) return nothing;

  const students: StudyResults['students'] = new Map();
  for (const student of config.students) {
    const evaluated = new Map<string, EvaluatedArm>();
    const evaluate = async (arm: string, training: TrainingResult | null) => {
      evaluated.set(arm, { training, evaluations: await runEvaluate(context, student, training, questions.eval) });
    };
    if (config.evaluate.baseline) await evaluate(baselineArm, null);
    for (const [arm, training] of trainings.get(student.name)!) await evaluate(arm, training);
    students.set(student.name, evaluated);
  }
  if (isPast('report')) return nothing;

  throwIfInterrupted(context.signal, "stage 'report'");
  const results: StudyResults = { questions, traces, compressions, truncations, students };
  const data = await collectReport(context, results);
  await exportDatasets(context, results, dataOf);
  const reports = ['report.md', 'report.html', 'report.tex'].map((name) => folder.file(name));
  writeFileAtomically(reports[0]!, renderMarkdown(data));
  writeFileAtomically(reports[1]!, renderHtml(data));
  writeFileAtomically(reports[2]!, renderLatex(data));
  writeFileAtomically(folder.file('report.json'), `${JSON.stringify(data)}\n`);
  return { data, reports };
}

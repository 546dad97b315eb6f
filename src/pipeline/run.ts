/** A whole study, or some of its stages: every stage continues where it stopped. */
import { renderHtml } from '../report/html.js';
import { renderArmTable, renderMarkdown } from '../report/markdown.js';
import { runAnswerOnly } from './answer_only.js';
import { type ArmReasoning, armRows } from './arms.js';
import { collectReport, type EvaluatedArm, type StudyResults } from './collect.js';
import { runCompress } from './compress.js';
import { baselineArm, type StudyConfig } from './config.js';
import { type StageName, type StudyContext, stageNames } from './context.js';
import { runEvaluate } from './evaluate.js';
import { throwIfInterrupted } from './interrupted.js';
import { type Progress, silentProgress } from './progress.js';
import { loadQuestions } from './questions.js';
import { writeFileAtomically } from './row_file.js';
import { RunFolder } from './run_folder.js';
import type { Services } from './services.js';
import { runTraces } from './traces.js';
import { runTrain, type TrainingResult } from './train.js';
import { runTruncate } from './truncate.js';

export interface StudyOptions {
  services: Services;
  /** The stages to run; what they build on must be complete. Default: all. */
  stages?: readonly StageName[];
  /** The text of the study's file, kept in the run folder. */
  settings?: string;
  signal?: AbortSignal;
  progress?: Progress;
}

export interface StudyOutcome {
  /** The arms as a Markdown table with the verdict below it; null unless the stage `report` ran. */
  table: string | null;
  /** Paths of what the stage `report` wrote. */
  reports: string[];
}

/**
 * Runs a study in its folder. Rows that are there are kept; starting again continues.
 * @throws {UserError} one line with the remedy: a stage without a single usable row, say
 * @throws {Interrupted} when the signal is aborted; everything finished is on disk
 */
export async function runStudy(config: StudyConfig, options: StudyOptions): Promise<StudyOutcome> {
  const folder = new RunFolder(config.run, options.settings ?? null);
  const context: StudyContext = {
    config,
    folder,
    services: options.services,
    signal: options.signal ?? new AbortController().signal,
    progress: options.progress ?? silentProgress,
    mayRun: new Set(options.stages ?? stageNames),
  };
  try {
    folder.manifest.machine = await options.services.machine();
    folder.save();
    return await runStages(context);
  } finally {
    folder.save();
    folder.close();
  }
}

async function runStages(context: StudyContext): Promise<StudyOutcome> {
  const { config, folder } = context;
  const last = Math.max(...[...context.mayRun].map((stage) => stageNames.indexOf(stage)));
  const isPast = (stage: StageName) => stageNames.indexOf(stage) > last;
  const nothing: StudyOutcome = { table: null, reports: [] };

  const questions = await loadQuestions(context);
  const { traces, rows: attempts } = await runTraces(context, questions.train);
  if (isPast('compress')) return nothing;

  const arms = new Map<string, ArmReasoning>();
  arms.set('raw', new Map(traces.map(({ question, reasoning }) => [question.id, reasoning])));
  const results: StudyResults = {
    questions,
    traces,
    attempts,
    compressions: new Map(),
    truncated: null,
    students: new Map(),
  };
  for (const compressor of config.compressors) {
    const { reasoning, rows } = await runCompress(context, compressor, traces);
    arms.set(compressor.name, reasoning);
    results.compressions.set(compressor.name, rows);
  }
  if (isPast('truncate')) return nothing;

  if (config.truncate !== null) {
    const like = arms.get(config.truncate.like) as ReadonlyMap<string, string>;
    const { reasoning, rows } = await runTruncate(context, config.truncate, traces, like);
    arms.set('truncated', reasoning);
    results.truncated = rows;
  }
  if (isPast('answer-only')) return nothing;
  arms.set('answer-only', new Map([...runAnswerOnly(context, traces)].map((id) => [id, null])));
  if (isPast('train')) return nothing;

  const rowsOf = armRows(config, traces, arms);
  const trainings = new Map<string, Map<string, TrainingResult>>();
  for (const student of config.students) {
    const trained = new Map<string, TrainingResult>();
    for (const arm of student.arms) trained.set(arm, await runTrain(context, student, arm, rowsOf.get(arm)!));
    trainings.set(student.name, trained);
  }
  if (isPast('evaluate')) return nothing;

  for (const student of config.students) {
    const evaluated = new Map<string, EvaluatedArm>();
    if (config.evaluate.baseline) {
      const rows = await runEvaluate(context, student, null, questions.eval);
      evaluated.set(baselineArm, { training: null, rows });
    }
    for (const [arm, training] of trainings.get(student.name)!) {
      evaluated.set(arm, { training, rows: await runEvaluate(context, student, training, questions.eval) });
    }
    results.students.set(student.name, evaluated);
  }
  if (isPast('report')) return nothing;

  throwIfInterrupted(context.signal, "stage 'report'");
  const data = await collectReport(context, results);
  const reports = [folder.file('report.md'), folder.file('report.html')];
  writeFileAtomically(reports[0]!, renderMarkdown(data));
  writeFileAtomically(reports[1]!, renderHtml(data));
  writeFileAtomically(folder.file('report.json'), `${JSON.stringify(data)}\n`);
  return { table: renderArmTable(data), reports };
}

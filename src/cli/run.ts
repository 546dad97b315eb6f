import type { Command } from 'commander';
import { readYaml } from '../data/yaml_file.js';
import type { LeadingProcess } from '../distributed/run_threads.js';
import type { StudyConfig } from '../pipeline/config.js';
import type { StageName } from '../pipeline/context.js';
import type { Prediction } from '../pipeline/predict.js';
import { formatDuration, type Progress } from '../pipeline/progress.js';
import type { Services } from '../pipeline/services.js';
import { addExpected } from '../report/expected.js';
import { fetchMissing } from './models.js';
import { addMeshOption, type GlobalOptions, overlay } from './options.js';
import { modelsOf, predictPlan, renderPlan, withInterval } from './plan.js';
import { leading } from './processes.js';

const runExamples = `
The file names a teacher, compressors, students and questions; examples/reference.yaml explains every key.
The run's folder holds one JSONL per stage and arm, manifest.json, the students, the datasets as parquet with a card, and
report.html / report.md / report.tex.
Stopped at any moment, the same command goes on: finished rows are kept, none is made twice.

Examples:
  $ compress-distill run examples/quickstart.yaml
  $ compress-distill run my-study.yaml --threads 4
  $ compress-distill run my-study.yaml --dry-run   what is there, what would be done, and why
  $ compress-distill traces my-study.yaml          one stage at a time, in the order below`;

const stages: [StageName, string][] = [
  ['traces', 'the teacher answers questions until they are right, in rounds'],
  ['compress', 'every compressor rewrites the right traces'],
  ['truncate', 'raw traces cut to the length of the compressed ones'],
  ['answer-only', 'targets without reasoning'],
  ['evaluate', 'every student answers the held-out questions'],
  ['report', 'tables and plots: report.md and report.html'],
];

export function addRun(program: Command): void {
  const run = program
    .command('run')
    .summary('a whole study: traces → compress → train → evaluate → report')
    .description('Runs a study as a YAML file says, from the teacher to the report.')
    .argument('<file>', 'YAML of the study')
    .option('--dry-run', 'only say what would be done, stage by stage, and why')
    .addHelpText('after', runExamples)
    .action((file: string, _, self: Command) => {
      const options = self.optsWithGlobals() as GlobalOptions & { dryRun?: boolean };
      return options.dryRun ? dryRun(file, options) : runStages(file, options);
    });
  addMeshOption(run);
  for (const [stage, what] of stages) {
    const command = program
      .command(stage)
      .summary(`stage: ${what}`)
      .description(`One stage of a study: ${what}. The stages before it must be complete.`)
      .argument('<file>', 'YAML of the study')
      .helpGroup('Stages of a study (train is one too, given the YAML of a study):')
      .addHelpText('after', `\nExample:\n  $ compress-distill ${stage} examples/quickstart.yaml`)
      .action((file: string, _, self: Command) => runStages(file, self.optsWithGlobals(), [stage]));
    addMeshOption(command);
  }
}

async function read(file: string, options: GlobalOptions): Promise<{ config: StudyConfig; text: string }> {
  const { parseStudyConfig } = await import('../pipeline/config.js');
  const { value, text } = await readYaml(file);
  return { config: parseStudyConfig(overlay(value, options), file), text };
}

async function dryRun(file: string, options: GlobalOptions): Promise<void> {
  const { config } = await read(file, options);
  const { createEngineServices } = await import('../pipeline/engine_services.js');
  const { lookingContext, planStudy } = await import('../pipeline/plan.js');
  const services = createEngineServices(config);
  try {
    console.log(renderPlan(await planStudy(await lookingContext(config, services))));
  } finally {
    await services.close();
  }
}

/** Says what will be done, and before a run's beginning what that will take. */
async function announce(config: StudyConfig, services: Services, progress: Progress): Promise<Prediction | null> {
  const { lookingContext, planStudy } = await import('../pipeline/plan.js');
  const context = await lookingContext(config, services);
  const plan = await planStudy(context);
  progress.note(renderPlan(plan));
  if (Object.keys(context.folder.manifest.stages).length > 0) return null;
  progress.note('Measuring how fast this machine is …');
  try {
    const { prediction } = await predictPlan(context, plan);
    const seconds = addExpected(Object.values(prediction.stages).map((stage) => stage.seconds));
    progress.note(`All of it takes about ${withInterval(seconds, formatDuration)}. ${prediction.basis}`);
    return prediction;
  } catch (error) {
    // What is wrong with the prompts or the rows, the stages say better.
    progress.note(`How long it takes cannot be said: ${error instanceof Error ? error.message : error}`);
    return null;
  }
}

/** Runs some stages of the study in `file`; default all. */
export async function runStages(file: string, options: GlobalOptions, only?: readonly StageName[]): Promise<void> {
  const { config, text } = await read(file, options);
  const work = async (signal: AbortSignal, leader: LeadingProcess | null): Promise<void> => {
    await fetchMissing(modelsOf(config), signal);
    const { createEngineServices } = await import('../pipeline/engine_services.js');
    const { createProgress } = await import('../pipeline/progress.js');
    const { runStudy } = await import('../pipeline/run.js');
    const progress = createProgress();
    const services = createEngineServices(config, (line) => progress.note(line), leader);
    try {
      const prediction = await announce(config, services, progress);
      const { data, reports } = await runStudy(config, {
        services,
        settings: text,
        signal,
        progress,
        prediction,
        ...(only ? { stages: only } : {}),
      });
      if (data === null) console.log(`Rows are in ${config.run}`);
      else {
        const { renderSummary } = await import('../report/terminal.js');
        console.log(`\n${renderSummary(data)}`);
        console.log(`Report: ${reports.join(', ')}`);
      }
    } finally {
      await services.close();
    }
  };
  const { studyTasks } = await import('../pipeline/study_tasks.js');
  await leading(config, 'The same command goes on from what is finished.', work, studyTasks);
}

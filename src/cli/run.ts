import type { Command } from 'commander';
import { readYaml } from '../data/yaml_file.js';
import type { StudyConfig } from '../pipeline/config.js';
import type { StageName } from '../pipeline/context.js';
import { interruptible } from './interrupt.js';
import { fetchMissing } from './models.js';
import { type GlobalOptions, overlay } from './options.js';

const runExamples = `
The file names a teacher, compressors, students and questions; examples/reference.yaml explains every key.
The run's folder holds one JSONL per stage and arm, manifest.json, the students and report.md / report.html.
Stopped at any moment, the same command goes on: finished rows are kept, none is made twice.

Examples:
  $ compress-distill run examples/quickstart.yaml
  $ compress-distill run my-study.yaml --threads 4
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
  program
    .command('run')
    .summary('a whole study: traces → compress → train → evaluate → report')
    .description('Runs a study as a YAML file says, from the teacher to the report.')
    .argument('<file>', 'YAML of the study')
    .addHelpText('after', runExamples)
    .action((file: string, _, self: Command) => runStages(file, self.optsWithGlobals()));
  for (const [stage, what] of stages)
    program
      .command(stage)
      .summary(`stage: ${what}`)
      .description(`One stage of a study: ${what}. The stages before it must be complete.`)
      .argument('<file>', 'YAML of the study')
      .helpGroup('Stages of a study (train is one too, given the YAML of a study):')
      .addHelpText('after', `\nExample:\n  $ compress-distill ${stage} examples/quickstart.yaml`)
      .action((file: string, _, self: Command) => runStages(file, self.optsWithGlobals(), [stage]));
}

/** Runs some stages of the study in `file`; default all. */
export async function runStages(file: string, options: GlobalOptions, only?: readonly StageName[]): Promise<void> {
  const { parseStudyConfig } = await import('../pipeline/config.js');
  const { value, text } = await readYaml(file);
  const config = parseStudyConfig(overlay(value, options), file);
  await interruptible('The same command goes on from what is finished.', async (signal) => {
    await fetchMissing(modelsOf(config), signal);
    const { createEngineServices } = await import('../pipeline/engine_services.js');
    const { createProgress } = await import('../pipeline/progress.js');
    const { runStudy } = await import('../pipeline/run.js');
    const progress = createProgress();
    const services = createEngineServices(config, (line) => progress.note(line));
    try {
      const outcome = await runStudy(config, {
        services,
        settings: text,
        signal,
        progress,
        ...(only ? { stages: only } : {}),
      });
      if (outcome.table !== null) console.log(outcome.table);
      for (const path of outcome.reports) console.log(`Report: ${path}`);
      if (outcome.table === null) console.log(`Rows are in ${config.run}`);
    } finally {
      await services.close();
    }
  });
}

function modelsOf({ teacher, compressors, truncate, students }: StudyConfig): string[] {
  const models = [teacher, ...compressors, ...students].map(({ model }) => model);
  return truncate === null ? models : [...models, truncate.tokenizer];
}

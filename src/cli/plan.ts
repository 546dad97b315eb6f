import type { Command } from 'commander';
import pc from 'picocolors';
import { readYaml } from '../data/yaml_file.js';
import type { StudyConfig } from '../pipeline/config.js';
import type { PlannedStage, StudyPlan } from '../pipeline/plan.js';
import type { Prediction, StagePrediction } from '../pipeline/predict.js';
import { formatDuration } from '../pipeline/progress.js';
import type { Services } from '../pipeline/services.js';
import { interruptible } from './interrupt.js';
import { fetchMissing } from './models.js';
import { type GlobalOptions, overlay } from './options.js';

export function addPlan(program: Command): void {
  program
    .command('plan')
    .summary('what a study will take: rows, tokens, time, device-hours per arm')
    .description(
      'Says before anything runs what is there, what is to do and why, and what it will take: lengths from the rows sampled so far, else from named priors; speeds measured on this machine.',
    )
    .argument('<file>', 'YAML of the study')
    .addHelpText('after', '\nExample:\n  $ compress-distill plan examples/quickstart.yaml')
    .action(async (file: string, _, self: Command) => {
      const { parseStudyConfig } = await import('../pipeline/config.js');
      const config = parseStudyConfig(
        overlay((await readYaml(file)).value, self.optsWithGlobals() as GlobalOptions),
        file,
      );
      await interruptible('Nothing was written.', async (signal) => {
        await fetchMissing(modelsOf(config), signal);
        const { createEngineServices } = await import('../pipeline/engine_services.js');
        const services = createEngineServices(config);
        try {
          const { plan, stages, prediction } = await planAndPredict(config, services);
          console.log(renderPlan(plan));
          console.log(`\n${renderPrediction(config, stages, prediction)}`);
        } finally {
          await services.close();
        }
      });
    });
}

export function modelsOf({ teacher, compressors, truncate, students }: StudyConfig): string[] {
  const models = [teacher, ...compressors, ...students].map(({ model }) => model);
  return truncate === null ? models : [...models, truncate.tokenizer];
}

/** Opens models only to measure how fast they are, and only those that this machine has not measured before. */
export async function planAndPredict(
  config: StudyConfig,
  services: Services,
): Promise<{ plan: StudyPlan; stages: StagePrediction[]; prediction: Prediction }> {
  const { lookingContext, planStudy } = await import('../pipeline/plan.js');
  const { predict } = await import('../pipeline/predict.js');
  const { RateBook } = await import('../pipeline/rates.js');
  const context = await lookingContext(config, services);
  const plan = await planStudy(context);
  const measure = async (model: string) => ({ inference: await services.measure(model) });
  return { plan, ...(await predict(context, plan, new RateBook(config), measure)) };
}

const marks = { done: pc.green('✓'), 'to do': pc.yellow('•'), waits: pc.dim('…') };

function rowsOf({ there, todo, verify, stale }: PlannedStage): string {
  const parts = [
    ...(there > 0 ? [`${there} there`] : []),
    ...(todo === null || todo === 0 ? [] : [`${todo} to do`]),
    ...(verify > 0 ? [`${verify} to verify again`] : []),
    ...(stale > 0 ? [`${stale} to go`] : []),
  ];
  return parts.join(', ');
}

/** A line per stage: rows there, rows to do, rows that go, and why. */
export function renderPlan({ stages }: StudyPlan): string {
  const width = Math.max(...stages.map(({ label }) => label.length));
  const rows = stages.map(rowsOf);
  const rowWidth = Math.max(...rows.map((text) => text.length));
  return stages
    .map(({ label, state, why }, index) =>
      `${marks[state]} ${label.padEnd(width)}  ${rows[index]!.padEnd(rowWidth)}  ${why}`.trimEnd(),
    )
    .join('\n');
}

/** What is left, stage by stage and arm by arm. */
export function renderPrediction(
  { device }: StudyConfig,
  stages: readonly StagePrediction[],
  { basis }: Prediction,
): string {
  const unit = device.startsWith('cuda') ? 'GPU' : 'CPU';
  const lines = (entries: readonly { name: string; tokens: number; seconds: number; left: number }[]) => {
    const cells = entries.map(({ name, tokens, seconds, left }) => [
      name,
      tokens.toLocaleString('en-US'),
      formatDuration(seconds),
      (seconds / 3600).toPrecision(3),
      formatDuration(left),
    ]);
    const header = ['', 'tokens', 'time', `${unit}-hours`, 'left'];
    const widths = header.map((title, column) => Math.max(title.length, ...cells.map((row) => row[column]!.length)));
    return [header, ...cells]
      .map((row) =>
        row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at]!) : cell.padStart(widths[at]!))).join('  '),
      )
      .join('\n');
  };
  const sum = (name: string, of: readonly StagePrediction[]) => ({
    name,
    tokens: of.reduce((total, { tokens }) => total + tokens, 0),
    seconds: of.reduce((total, { seconds }) => total + seconds, 0),
    left: of.reduce((total, { left }) => total + left, 0),
  });
  const arms = [...new Set(stages.map(({ arm }) => arm))];
  const byArm = arms.map((arm) =>
    sum(
      arm === null ? 'for all arms' : `arm ${arm}`,
      stages.filter((stage) => stage.arm === arm),
    ),
  );
  const byStage = stages.map(({ label, ...rest }) => ({ name: label, ...rest }));
  return [lines(byStage), '', lines([...byArm, sum('all', stages)]), '', basis].join('\n');
}

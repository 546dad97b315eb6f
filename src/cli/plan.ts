import type { Command } from 'commander';
import pc from 'picocolors';
import { readYaml } from '../data/yaml_file.js';
import type { MeshShape } from '../distributed/mesh_shape.js';
import { UserError } from '../errors.js';
import type { StudyConfig } from '../pipeline/config.js';
import type { StudyContext } from '../pipeline/context.js';
import type { PlannedStage, StudyPlan } from '../pipeline/plan.js';
import type { Prediction, StagePrediction } from '../pipeline/predict.js';
import { formatDuration } from '../pipeline/progress.js';
import { alignColumns } from '../report/columns.js';
import { addExpected, type Expected } from '../report/expected.js';
import { interruptible } from './interrupt.js';
import { fetchMissing } from './models.js';
import { integer, links, mesh, overlay, positive } from './options.js';
import { type MeshPlanOptions, onMesh, planTraining, renderOnMeshes } from './plan_mesh.js';
import { isTraining } from './training_file.js';

export function addPlan(program: Command): void {
  program
    .command('plan')
    .summary('what a study will take, or a training run on many devices')
    .description(
      'Says before anything runs what is there, what is to do and why, and what it will take: lengths from the rows sampled so far, else from named priors; speeds measured on this machine. For a training run: what a step takes on many devices, from what one of them does and the links between them.',
    )
    .argument('<file>', 'YAML of the study, or of a training run')
    .option(
      '--mesh <shape>',
      'devices to plan for, such as dp=8,tp=8; may be given several times (default, of a training run: 8 and 64 devices)',
      (text: string, before: MeshShape[] = []) => [...before, mesh(text)],
    )
    .option(
      '--link-bandwidth <links>',
      'bytes/s that a device sends within a node and to others (default: nvlink=450e9,network=50e9)',
      links,
    )
    .option('--gpus-per-node <count>', 'devices that nvlink connects (default: 8)', integer(1))
    .option('--rate <tokens>', 'tokens/s that one device trains; default: measured here', positive)
    .addHelpText(
      'after',
      `
Examples:
  $ compress-distill plan examples/quickstart.yaml
  $ compress-distill plan my-student.yaml --device cuda
  $ compress-distill plan my-student.yaml --mesh dp=8,tp=8 --rate 9000 --link-bandwidth network=25e9`,
    )
    .action(async (file: string, _, self: Command) => {
      const { value } = await readYaml(file);
      if (isTraining(value)) return planTraining(value, file, self.optsWithGlobals());
      const { mesh: meshes, rate, linkBandwidth, gpusPerNode, ...options } = self.optsWithGlobals() as MeshPlanOptions;
      if (rate !== undefined)
        throw new UserError(
          `${file}: Expected --rate beside the YAML of a training run ('model', 'data', 'output') but received a study, whose stages have rates of their own; leave it out`,
        );
      const { parseStudyConfig } = await import('../pipeline/config.js');
      const configs = (meshes ?? []).map((each) => parseStudyConfig(onMesh(value, each, options), file));
      const config = parseStudyConfig(meshes ? onMesh(value, null, options) : overlay(value, options), file);
      await interruptible('Nothing was written.', async (signal) => {
        await fetchMissing(modelsOf(config), signal);
        const { createEngineServices } = await import('../pipeline/engine_services.js');
        const services = createEngineServices(config);
        try {
          const { lookingContext, planStudy } = await import('../pipeline/plan.js');
          const context = await lookingContext(config, services);
          const plan = await planStudy(context);
          const { stages, prediction } = await predictPlan(context, plan);
          console.log(renderPlan(plan));
          console.log(`\n${renderPrediction(config, stages, prediction)}`);
          if (configs.length > 0) console.log(`\n${await renderOnMeshes(stages, configs, linkBandwidth, gpusPerNode)}`);
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

/** Opens models only to measure how fast they are, and only what this machine has not measured today. */
export async function predictPlan(context: StudyContext, plan: StudyPlan) {
  const { predict } = await import('../pipeline/predict.js');
  const { RateBook } = await import('../pipeline/rates.js');
  return predict(context, plan, new RateBook(context.config));
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

/** `120 (80–200)` */
export function withInterval({ expected, low, high }: Expected, format: (value: number) => string): string {
  return low === high ? format(expected) : `${format(expected)} (${format(low)}–${format(high)})`;
}

interface Line {
  name: string;
  tokens: Expected;
  seconds: Expected;
  left: number;
}

function sum(name: string, stages: readonly StagePrediction[]): Line {
  return {
    name,
    tokens: addExpected(stages.map(({ tokens }) => tokens)),
    seconds: addExpected(stages.map(({ seconds }) => seconds)),
    left: stages.reduce((total, { left }) => total + left, 0),
  };
}

/** What is left, stage by stage and arm by arm. */
export function renderPrediction(
  { device }: StudyConfig,
  stages: readonly StagePrediction[],
  { basis }: Prediction,
): string {
  const unit = device.startsWith('cuda') ? 'GPU' : 'CPU';
  const count = (value: number) => Math.round(value).toLocaleString('en-US');
  const table = (entries: readonly Line[]) =>
    alignColumns(
      ['', 'tokens', 'time', `${unit}-hours`, 'left'],
      entries.map(({ name, tokens, seconds, left }) => [
        name,
        withInterval(tokens, count),
        withInterval(seconds, formatDuration),
        (seconds.expected / 3600).toPrecision(3),
        formatDuration(left),
      ]),
      1,
    ).join('\n');
  const byStage = stages.map(({ label, ...rest }) => ({ name: label, ...rest }));
  const byArm = [...new Set(stages.map(({ arm }) => arm))].map((arm) =>
    sum(
      arm === null ? 'for all arms' : `arm ${arm}`,
      stages.filter((stage) => stage.arm === arm),
    ),
  );
  return [table(byStage), '', table([...byArm, sum('all', stages)]), '', basis].join('\n');
}

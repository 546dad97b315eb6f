/** `plan` for many devices: what a step of a training run, or a study, would take. */
import type { Links } from '../distributed/communication.js';
import { type MeshShape, meshSize } from '../distributed/mesh_shape.js';
import { UserError } from '../errors.js';
import type { StudyConfig } from '../pipeline/config.js';
import type { StagePrediction } from '../pipeline/predict.js';
import { formatDuration } from '../pipeline/progress.js';
import { alignColumns } from '../report/columns.js';
import type { TrainConfig } from '../training/config.js';
import { formatBytes } from '../training/memory_plan.js';
import type { MeshPlan } from '../training/mesh_plan.js';
import { interruptible } from './interrupt.js';
import { fetchMissing } from './models.js';
import { type GlobalOptions, overlay } from './options.js';
import { readTrainingFile } from './training_file.js';

export interface MeshPlanOptions extends Omit<GlobalOptions, 'mesh'> {
  mesh?: MeshShape[];
  linkBandwidth?: Partial<Links>;
  gpusPerNode?: number;
  rate?: number;
}

const alone: MeshShape = { dp: 1, tp: 1 };

/** Opens the model only to measure how fast one device trains it, and only where that is not said. */
export async function planTraining(value: unknown, file: string, options: MeshPlanOptions): Promise<void> {
  const { linkBandwidth, gpusPerNode = 8, rate: said, mesh: wanted, ...global } = options;
  const { defaultLinks } = await import('../distributed/communication.js');
  const { planMesh, usualMeshes } = await import('../training/mesh_plan.js');
  const { resolveModel } = await import('../weights/model_files.js');
  const links = { ...defaultLinks, ...linkBandwidth };
  // What one device does is that of whole models.
  const configOf = await readTrainingFile(value, file);
  const single = configOf({ ...global, mesh: alone }, { fullyShard: false });
  await interruptible('Nothing was written.', async (signal) => {
    await fetchMissing([single.model], signal);
    const files = await resolveModel(single.model, single);
    files.weights.close();
    const planned: { mesh: MeshShape; plan: (rate: number) => MeshPlan }[] = [];
    const refused: string[] = [];
    for (const mesh of wanted ?? usualMeshes(gpusPerNode)) {
      try {
        const config = configOf({ ...global, mesh });
        const plan = (rate: number) => planMesh(files.config, config, rate, links, gpusPerNode);
        plan(1); // Whether it can be divided so, before anything is measured.
        planned.push({ mesh, plan });
      } catch (error) {
        if (wanted !== undefined || !(error instanceof UserError)) throw error;
        refused.push(`${nameOf(mesh)}: ${error.message}`);
      }
    }
    const rate = said ?? (planned.length > 0 ? await measure(single) : Number.NaN);
    if (planned.length > 0) console.log(`${renderMeshes(planned.map(({ plan }) => plan(rate)))}\n`);
    for (const line of refused) console.log(line);
    if (planned.length === 0)
      throw new UserError(
        `${file}: Expected settings that some mesh of 8 or 64 devices can train with but none can; the lines above say why, or give a mesh with --mesh`,
      );
    const giga = (bandwidth: number) => `${bandwidth / 1e9} GB/s`;
    console.log(
      `One device: ${round(rate)} tokens/s, ${said === undefined ? `measured on ${single.device}` : 'as given'}. A device sends ${giga(links.nvlink)} within a node of ${gpusPerNode}, ${giga(links.network)} to others. ` +
        `A step: ${single.gradientAccumulation} micro-batches of ${single.sequenceLength * single.microBatch} tokens. Exchanges among dp go on beside the passes, those among tp do not; latencies are left out.`,
    );
  });
}

async function measure(config: TrainConfig): Promise<number> {
  const { measureFile } = await import('../pipeline/measure_training.js');
  return (await measureFile(config)).tokensPerSecond;
}

const nameOf = ({ dp, tp }: MeshShape): string => `dp=${dp},tp=${tp}`;

const round = (value: number): string => Math.round(value).toLocaleString('en-US');

function formatSeconds(seconds: number): string {
  if (seconds === 0) return '0';
  return seconds < 1 ? `${(1000 * seconds).toPrecision(3)} ms` : `${seconds.toPrecision(3)} s`;
}

/** A line for each mesh. Bytes are what a device sends in a step. */
export function renderMeshes(plans: readonly MeshPlan[]): string {
  const header = ['mesh', 'devices', 'dp sends', 'takes', 'tp sends', 'takes', 'computes', 'waits', 'step', 'tokens/s'];
  const rows = plans.map(({ mesh, step, tokensPerSecond, efficiency, memory }) => [
    nameOf(mesh),
    String(meshSize(mesh)),
    formatBytes(step.sent.dp),
    formatSeconds(step.exchanging.dp),
    formatBytes(step.sent.tp),
    formatSeconds(step.exchanging.tp),
    formatSeconds(step.compute),
    formatSeconds(step.waiting),
    formatSeconds(step.seconds),
    round(tokensPerSecond),
    `${(100 * efficiency).toFixed(1)} %`,
    formatBytes(memory),
  ]);
  return alignColumns([...header, 'efficiency', 'memory'], rows, 1).join('\n');
}

/** A study's settings for a mesh, which its students then train on too; null: for one device. */
export function onMesh(value: unknown, mesh: MeshShape | null, options: GlobalOptions): unknown {
  const study = overlay(value, { ...options, mesh: mesh ?? alone }) as { students?: unknown };
  if (!Array.isArray(study?.students)) return study;
  const students = study.students.map((student: { training?: object } | null) => {
    if (typeof student?.training !== 'object') return student;
    const { mesh: _, fullyShard, ...training } = student.training as { mesh?: unknown; fullyShard?: unknown };
    return { ...student, training: mesh === null || fullyShard === undefined ? training : { ...training, fullyShard } };
  });
  return { ...study, students };
}

/** A line for each mesh: how long the whole study takes. @param stages on one device */
export async function renderOnMeshes(
  stages: readonly StagePrediction[],
  configs: readonly StudyConfig[],
  linkBandwidth: Partial<Links> = {},
  gpusPerNode = 8,
): Promise<string> {
  const { defaultLinks } = await import('../distributed/communication.js');
  const { predictMesh } = await import('../pipeline/predict_mesh.js');
  const rows: string[][] = [];
  for (const config of configs) {
    const { generation, training, efficiency } = await predictMesh(
      stages,
      config,
      { ...defaultLinks, ...linkBandwidth },
      gpusPerNode,
    );
    const times = [generation, training, generation + training].map(formatDuration);
    rows.push([nameOf(config.mesh), String(meshSize(config.mesh)), ...times, `${(100 * efficiency).toFixed(1)} %`]);
  }
  const lines = alignColumns(['mesh', 'devices', 'generation', 'training', 'all', 'efficiency'], rows, 1);
  return [
    ...lines,
    '',
    'The whole study, from what it takes on one device (above). Generation divides over dp alone.',
  ].join('\n');
}

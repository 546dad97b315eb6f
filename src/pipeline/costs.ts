/** What a run cost: from the manifest's records to the report's figures. */
import { availableParallelism } from 'node:os';
import type { CostFactors, ReportData, StageCost } from '../report/report_data.js';
import type { StudyConfig } from './config.js';
import type { Manifest } from './run_folder.js';

/** Rated power of an H100 SXM, which the paper reckons with; for a CPU thread a figure of ours. */
const gpuWatts = 700;
const cpuThreadWatts = 5;

export function costFactors({ device, threads, costs }: StudyConfig): CostFactors {
  const onGpu = device.startsWith('cuda');
  const rated = onGpu ? gpuWatts : cpuThreadWatts * (threads ?? availableParallelism());
  return {
    watts: costs.watts ?? rated,
    pue: costs.pue,
    gramsPerKwh: costs.gramsPerKwh,
    device: onGpu ? 'GPU' : 'CPU',
  };
}

/** The arm in a stage's label: `compress short`, `train small raw`; null for what all arms share. */
export function armOf(label: string): string | null {
  const [stage, ...names] = label.split(' ');
  if (stage === 'compress' || stage === 'train' || stage === 'evaluate') return names.at(-1) ?? null;
  if (stage === 'truncate') return 'truncated';
  return stage === 'answer-only' ? stage : null;
}

const joulesPerKilowattHour = 3.6e6;

export function stageCosts({ stages }: Manifest, config: StudyConfig): StageCost[] {
  const { watts, pue } = costFactors(config);
  return Object.entries(stages).map(([stage, { seconds, deviceSeconds, promptTokens, tokens, joules }]) => ({
    stage,
    arm: armOf(stage),
    seconds,
    deviceSeconds,
    promptTokens,
    tokens,
    kilowattHours: ((joules ?? deviceSeconds * watts) * pue) / joulesPerKilowattHour,
    measured: joules !== null,
  }));
}

/** What was expected before the run began, beside what came. */
export function predictedStages({ prediction, stages }: Manifest): ReportData['prediction'] {
  if (prediction === undefined) return null;
  const compared = Object.entries(prediction.stages).flatMap(([stage, predicted]) => {
    const actual = stages[stage];
    return actual === undefined
      ? []
      : [{ stage, predicted, actual: { tokens: actual.tokens, seconds: actual.seconds } }];
  });
  return { basis: prediction.basis, stages: compared };
}

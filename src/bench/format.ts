/** Measurements as lines for a terminal. */
import type { GenerationMeasurement } from './measure_generation.js';
import { type OpMeasurement, type PeerTiming, titleOf } from './measure_op.js';
import { formatRates } from './rates.js';
import { formatShape } from './shape.js';
import { formatSeconds } from './timing.js';

export const formatPercent = (fraction: number): string => `${(100 * fraction).toFixed(1)} %`;

export function formatOp(measurement: OpMeasurement): string {
  const { time, fractionOfFloor, fractionOfPeak, gflops, gigabytesPerSecond, warm, copies, calls } = measurement;
  const operands = warm ? 'the same operands every call' : `${copies} sets of operands in turn`;
  const reached = [
    fractionOfFloor === null ? null : `${formatPercent(fractionOfFloor)} of the floor`,
    gflops === null ? null : `${gflops.toPrecision(3)} GFLOP/s (${formatPercent(fractionOfPeak!)} of peak)`,
    `${gigabytesPerSecond.toPrecision(3)} GB/s`,
  ];
  return [
    titleOf(measurement),
    machine(measurement, `; ${operands}`),
    fractionOfFloor === null
      ? '  floor    none: no matrix product, and the operands stay in a cache'
      : floor(measurement),
    `  time     ${formatSeconds(time.median)} median, ${formatSeconds(time.best)} best of ${time.samples} × ${calls} calls`,
    `  reached  ${reached.filter((part) => part !== null).join(', ')}`,
    ...measurement.peers.flatMap(peerLines),
  ].join('\n');
}

export function formatGeneration(measurement: GenerationMeasurement): string {
  const { model, shape, dtype, time, outputTokensPerSecond, gflops, gigabytesPerSecond, profile } = measurement;
  const { steps = 0, noKernelShare = 0, schedulingShare = 0, preemptions = 0 } = measurement.details;
  const costs = profile.slice(0, 6).map(({ op, share }) => `${op} ${formatPercent(share)}`);
  return [
    `generate ${model} ${formatShape(shape)} ${dtype}`,
    machine(measurement, ''),
    floor(measurement),
    `  time     ${formatSeconds(time.median)} median, ${formatSeconds(time.best)} best of ${time.samples}: ${outputTokensPerSecond.toFixed(1)} output tokens/s`,
    `  reached  ${formatPercent(measurement.fractionOfFloor)} of the floor, ${gflops.toPrecision(3)} GFLOP/s, ${gigabytesPerSecond.toPrecision(3)} GB/s`,
    `  steps    ${steps}; no kernel runs for ${formatPercent(noKernelShare)} of their time, JavaScript ${formatPercent(schedulingShare)}, mostly beside them; ${preemptions} preemptions`,
    `  stream   ${costs.join(', ')}`,
    ...measurement.peers.flatMap(peerLines),
  ].join('\n');
}

type Common = Pick<OpMeasurement, 'device' | 'threads' | 'instructionSet' | 'rates' | 'floor'>;

function machine({ device, threads, instructionSet, rates }: Common, more: string): string {
  return [
    `  on       ${device}, ${threads} thread${threads === 1 ? '' : 's'}, ${instructionSet}${more}`,
    `  machine  ${formatRates(rates)} (measured now)`,
  ].join('\n');
}

function floor({ floor: { seconds, operations, bytes } }: Common): string {
  return `  floor    ${formatSeconds(seconds)} = operations ${formatSeconds(operations)} + bytes ${formatSeconds(bytes)}`;
}

function peerLines(peer: PeerTiming): string[] {
  if ('unavailable' in peer) return [`  peer     no ${peer.name}: ${peer.unavailable}`];
  const { name, computes, time, ratio } = peer;
  return [
    `  peer     ${formatSeconds(time.median)} median, ${formatSeconds(time.best)} best; ${name}, ${computes}`,
    `  ratio    ${ratio.toFixed(2)} (the peer's time over ours)`,
  ];
}

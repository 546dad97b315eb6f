// Measurements as Markdown tables, and as lines for a terminal.
export const percent = (fraction) => (fraction === null ? '–' : `${(100 * fraction).toFixed(1)} %`);
export const time = (seconds) =>
  seconds < 1e-3 ? `${(seconds * 1e6).toFixed(1)} µs` : `${(seconds * 1e3).toFixed(2)} ms`;
const gibibytes = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

/** @param figures { operations, recorded, models }: lists of what bench has measured, each optional. */
export function tables({ operations = [], recorded = [], models = [] }) {
  const lines = [];
  const rates = (operations[0] ?? models[0])?.rates;
  if (rates) {
    const { flops, copy, read } = rates;
    const tera = (rate, digits) => (rate / 1e12).toFixed(digits);
    lines.push(
      '',
      'bf16. The floor is operations over the measured matrix rate plus bytes over the measured bandwidth. Rates, measured beside ' +
        `the first row: bf16 products ${tera(flops.bf16, 0)} TFLOP/s, f32 ${tera(flops.f32, 1)}, copy ${tera(copy, 2)} TB/s, read ${tera(read, 2)} TB/s.`,
    );
  }
  if (operations.length > 0)
    lines.push(
      '',
      '| operation | shape | floor | time | of the floor | Hopper kernel | of the floor | torch | torch / ours |',
      '|---|---|---|---|---|---|---|---|---|',
      ...operations.map((result) => `| ${operationCells(result).join(' | ')} |`),
    );
  for (const figures of recorded) lines.push('', `${recordedLine(figures)}.`);
  if (models.length > 0)
    lines.push(
      '',
      '| model | kernels | tokens/s | of the floor | most memory | conditions |',
      '|---|---|---|---|---|---|',
      ...models.map(({ benchmark, kernels, tokensPerSecond, fractionOfFloor, peakBytes, conditions }) => {
        const figures = [tokensPerSecond.toFixed(1), percent(fractionOfFloor), gibibytes(peakBytes)];
        return `| ${[benchmark, kernels, ...figures, `\`${JSON.stringify(conditions)}\``].join(' | ')} |`;
      }),
    );
  return lines;
}

const peerOf = ({ peers }, name) => peers.find((peer) => 'ratio' in peer && peer.name.startsWith(name));

function operationCells(result) {
  const { benchmark, shape, floor, time: ours, fractionOfFloor } = result;
  const sizes = Object.entries(shape).map(([name, size]) => `${name}=${size}`);
  const hopper = peerOf(result, 'Hopper');
  const torch = peerOf(result, 'torch');
  return [
    benchmark,
    sizes.join(' '),
    time(floor.seconds),
    time(ours.median),
    percent(fractionOfFloor),
    ...(hopper ? [time(hopper.time.median), percent(floor.seconds / hopper.time.median)] : ['–', '–']),
    ...(torch ? [time(torch.time.median), torch.ratio.toFixed(2)] : ['–', '–']),
  ];
}

/** What a measured operation came to, in one line. */
export function operationLine(result) {
  const hopper = peerOf(result, 'Hopper');
  const torch = peerOf(result, 'torch');
  const parts = [`${time(result.time.median)}, ${percent(result.fractionOfFloor)} of the floor`];
  if (hopper) parts.push(`Hopper kernel ${time(hopper.time.median)}, ${(1 / hopper.ratio).toFixed(2)} times as fast`);
  if (torch) parts.push(`torch ${time(torch.time.median)}, ${torch.ratio.toFixed(2)} times as long`);
  for (const peer of result.peers) if ('unavailable' in peer) parts.push(`no ${peer.name}: ${peer.unavailable}`);
  return parts.join('; ');
}

export const recordedLine = ({ operations, eager, replayed }) =>
  `${operations} small operations: ${time(eager)} one by one, ${time(replayed)} as a recording (${(eager / replayed).toFixed(1)} times as fast)`;

export const modelLine = ({ tokensPerSecond, fractionOfFloor, peakBytes }) =>
  `${tokensPerSecond.toFixed(1)} tokens/s, ${percent(fractionOfFloor)} of the floor, ${gibibytes(peakBytes)} at most`;

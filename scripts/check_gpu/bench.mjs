// Speed: every kernel beside the least time the GPU could need, with torch as a peer where it is there, then an 8B Llama end to
// end. Results go to gpu-<name>.json and .md.
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

// Shapes of an 8B Llama at 16,384 tokens, or 64 to 256 sequences. Sizes that are not named are those of `bench list`.
const tokens = 'T=16384';
const head = `${tokens},E=4096,V=128256`;
const heads = 'H=32,G=8,D=128';
const large = 'N=67108864';
export const benchmarks = [
  ['matmul', 'M=16384,N=4096,K=4096'],
  ['matmul', 'M=16384,N=28672,K=4096'],
  ['matmul', 'M=64,N=28672,K=4096'],
  ['matmul', 'M=1,N=4096,K=4096'],
  ['attention', `B=1,L=16384,${heads}`],
  ['attention', `B=8,L=2048,${heads}`],
  ['attention-backward', `B=1,L=16384,${heads}`],
  ['attention-backward', `B=8,L=2048,${heads}`],
  ['paged-attention', `B=64,C=2048,Q=1,${heads}`],
  ['paged-attention', `B=4,C=16384,Q=1,${heads}`],
  ['kv-write', `${tokens},G=8,D=128`],
  ['cross-entropy', head],
  ['token-logprobs', head],
  ['token-logprobs-backward', head],
  ['rms-norm', `${tokens},E=4096`],
  ['rms-norm-backward', `${tokens},E=4096`],
  ['rotary', `${tokens},H=32,D=128`],
  ['rotary-table', `${tokens},D=128`],
  ['silu-mul', `${tokens},I=14336`],
  ['silu-mul-backward', `${tokens},I=14336`],
  ['embedding', head],
  ['embedding-backward', head],
  ['dropout', `${tokens},E=4096`],
  ['sample', 'B=256,V=128256'],
  ['adamw', large],
  ['adamw', 'N=262144,P=256'],
  ['adamw-8bit', large],
  ['adamw-8bit', 'N=262144,P=256'],
  ...['fill', 'copy', 'add', 'mul', 'exp', 'scale', 'sum', 'sum-squares'].map((name) => [name, large]),
];

/** Every size at most `most`: for a device that emulates. */
function tiny(shape) {
  const most = { D: 16, H: 4, G: 2, B: 2, E: 64, V: 96, I: 64, N: 300, K: 48, M: 5, L: 9, C: 20, T: 7, P: 3 };
  return shape.replace(/([A-Z])=(\d+)/g, (_, name, size) => `${name}=${Math.min(size, most[name] ?? size)}`);
}

export async function bench(runner, { device, emulated, python, out }) {
  const results = [];
  const peer = emulated ? [] : ['--peer', '--python', python];
  const samples = emulated ? ['--samples', '1', '--sample-ms', '0', '--warm'] : ['--samples', '5'];
  for (const [what, shape] of benchmarks) {
    const args = ['dist/src/cli/main.js', 'bench', what, '--shape', emulated ? tiny(shape) : shape, '--dtype', 'bf16'];
    const all = [...args, '--device', device, ...samples, ...peer, '--json'];
    const output = await runner.run(`${what} ${shape}`, process.execPath, all, { seconds: 60, capture: true });
    if (output === null) continue;
    results.push(JSON.parse(output));
    console.log(`   ${lineOf(results.at(-1))}`);
  }
  const replay = await runner.run('recorded operations', process.execPath, ['dist/benchmarks/gpu/replay.js', device], {
    seconds: 60,
    capture: true,
  });
  if (replay !== null) console.log(`   ${replayLine(JSON.parse(replay))}`);
  const models = [];
  for (const what of ['generate', 'lora']) {
    const args = ['dist/benchmarks/gpu/llama8b.js', what, device];
    const output = await runner.run(`Llama-3.1-8B shape, ${what}`, process.execPath, args, {
      seconds: 200,
      capture: true,
    });
    if (output === null) continue;
    models.push(JSON.parse(output));
    console.log(`   ${modelLine(models.at(-1))}`);
  }
  if (emulated) return console.log('   no results are written: emulation says nothing about speed');
  const recorded = replay === null ? null : JSON.parse(replay);
  write(out, { device, commit: commit(), date: new Date().toISOString(), operations: results, recorded, models });
}

const percent = (fraction) => (fraction === null ? '–' : `${(100 * fraction).toFixed(1)} %`);
const time = (seconds) => (seconds < 1e-3 ? `${(seconds * 1e6).toFixed(1)} µs` : `${(seconds * 1e3).toFixed(2)} ms`);
const shapeOf = ({ shape }) =>
  Object.entries(shape)
    .map(([name, size]) => `${name}=${size}`)
    .join(' ');

function lineOf(result) {
  const [peer] = result.peers;
  const torch = !peer
    ? ''
    : 'ratio' in peer
      ? `, torch takes ${peer.ratio.toFixed(2)} times as long`
      : `, no torch: ${peer.unavailable}`;
  return `${time(result.time.median)}, ${percent(result.fractionOfFloor)} of the floor${torch}`;
}

const replayLine = ({ operations, eager, replayed }) =>
  `${operations} small operations: ${time(eager)} one by one, ${time(replayed)} as a recording (${(eager / replayed).toFixed(1)} times as fast)`;

function modelLine({ tokensPerSecond, fractionOfFloor, peakBytes }) {
  const memory = `${(peakBytes / 2 ** 30).toFixed(1)} GiB at most`;
  return `${tokensPerSecond.toFixed(1)} tokens/s, ${percent(fractionOfFloor)} of the floor, ${memory}`;
}

function commit() {
  const { status, stdout } = spawnSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' });
  return status === 0 ? stdout.trim() : 'not known';
}

function write(out, report) {
  const { operations, models } = report;
  const hardware = models[0]?.hardware ?? report.device;
  const { rates } = operations[0] ?? models[0] ?? {};
  const lines = [
    `# ${hardware}`,
    '',
    `Commit ${report.commit}, ${report.date}. bf16. The floor is operations over the measured matrix rate plus bytes over the measured bandwidth.`,
    '',
  ];
  if (rates)
    lines.push(
      `Measured: bf16 products ${(rates.flops.bf16 / 1e12).toFixed(0)} TFLOP/s, f32 ${(rates.flops.f32 / 1e12).toFixed(1)}, copy ${(rates.copy / 1e12).toFixed(2)} TB/s, read ${(rates.read / 1e12).toFixed(2)} TB/s.`,
      '',
    );
  lines.push(
    '| operation | shape | floor | time | of the floor | torch | torch / ours |',
    '|---|---|---|---|---|---|---|',
  );
  for (const result of operations) {
    const [peer] = result.peers;
    const theirs = peer && 'ratio' in peer ? [time(peer.time.median), peer.ratio.toFixed(2)] : ['–', '–'];
    const ours = [time(result.floor.seconds), time(result.time.median), percent(result.fractionOfFloor)];
    lines.push(`| ${[result.benchmark, shapeOf(result), ...ours, ...theirs].join(' | ')} |`);
  }
  if (report.recorded) lines.push('', `${replayLine(report.recorded)}.`);
  lines.push('', '| model | tokens/s | of the floor | most memory | conditions |', '|---|---|---|---|---|');
  for (const model of models) {
    const memory = `${(model.peakBytes / 2 ** 30).toFixed(1)} GiB`;
    const figures = [model.tokensPerSecond.toFixed(1), percent(model.fractionOfFloor), memory];
    lines.push(`| ${[model.benchmark, ...figures, `\`${JSON.stringify(model.conditions)}\``].join(' | ')} |`);
  }
  const name = `gpu-${hardware.split(',')[0].replace(/[^A-Za-z0-9]+/g, '-')}`;
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, `${name}.json`), `${JSON.stringify({ hardware, ...report }, null, 2)}\n`);
  writeFileSync(join(out, `${name}.md`), `${lines.join('\n')}\n`);
  console.log(`   written: ${join(out, name)}.json and .md`);
}

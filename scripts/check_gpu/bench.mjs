// Speed: every kernel beside the least time the GPU could need, with the kernel for Hopper and torch beside it where they are there,
// then an 8B Llama end to end.
import { hopperOn, hopperOperations } from './kernels.mjs';
import { modelLine, operationLine, recordedLine } from './tables.mjs';

// Shapes of an 8B Llama at 16,384 tokens, or 64 to 256 sequences. Sizes that are not named are those of `bench list`. The most
// interesting ones first: time may end.
const tokens = 'T=16384';
const head = `${tokens},E=4096,V=128256`;
const heads = 'H=32,G=8,D=128';
const large = 'N=67108864';
export const benchmarks = [
  ['attention', `B=1,L=16384,${heads}`],
  ['attention-backward', `B=1,L=16384,${heads}`],
  ['paged-attention', `B=64,C=2048,Q=1,${heads}`],
  ['paged-attention', `B=64,C=2048,Q=1,${heads},fp8=1`],
  ['cross-entropy', head],
  ['matmul', 'M=16384,N=4096,K=4096'],
  ['matmul', 'M=64,N=28672,K=4096'],
  ['matmul-low-rank', 'M=16384,N=4096,K=4096,R=64'],
  ['quantised-matmul', 'M=64,N=28672,K=4096,block=128'],
  ['quantised-matmul', 'M=16,N=28672,K=4096,block=32'],
  ['quantised-matmul', 'M=16384,N=4096,K=4096,block=128'],
  ['attention', `B=8,L=2048,${heads}`],
  ['attention-backward', `B=8,L=2048,${heads}`],
  ['paged-attention', `B=4,C=16384,Q=1,${heads}`],
  ['token-logprobs', head],
  ['token-logprobs-backward', head],
  ['matmul', 'M=16384,N=28672,K=4096'],
  ['matmul', 'M=1,N=4096,K=4096'],
  ['sample', 'B=256,V=128256'],
  ['adamw', 'N=262144,P=256'],
  ['adamw-8bit', 'N=262144,P=256'],
  ['rms-norm', `${tokens},E=4096`],
  ['add-rms-norm', `${tokens},E=4096`],
  ['rms-norm-backward', `${tokens},E=4096`],
  ['silu-mul', `${tokens},I=14336`],
  ['silu-mul-backward', `${tokens},I=14336`],
  ['rotary', `${tokens},H=32,D=128`],
  ['kv-write', `${tokens},${heads}`],
  ['rotary-table', `${tokens},D=128`],
  ['embedding', head],
  ['embedding-backward', head],
  ['dropout', `${tokens},E=4096`],
  ['adamw', large],
  ['adamw-8bit', large],
  ...['fill', 'copy', 'add', 'mul', 'exp', 'scale', 'sum', 'sum-squares'].map((name) => [name, large]),
];

/** Every size at most `most`: for a device that emulates. */
function tiny(shape) {
  const most = { D: 64, H: 4, G: 2, B: 2, E: 64, V: 96, I: 64, N: 300, K: 64, M: 5, L: 9, C: 20, T: 7, P: 3 };
  return shape.replace(/([A-Z])=(\d+)/g, (_, name, size) => `${name}=${Math.min(size, most[name] ?? size)}`);
}

export async function bench(stage, { device, emulated, python }) {
  const items = new Set(benchmarks.map(([what, shape]) => `${what} ${emulated ? tiny(shape) : shape}`));
  await stage.list('kernel', [...items], {
    seconds: 220,
    patience: 100, // what torch takes to load from a cold disk, the first time
    start: (left) => ({
      command: process.execPath,
      args: [
        ...['dist/benchmarks/gpu/kernels.js', '--device', device, '--python', emulated ? 'none' : python],
        ...['--hopper', hopperOperations.join(','), ...left],
      ],
    }),
    parse: measurementOf,
  });

  const recorded = await stage.command(
    'recorded operations',
    process.execPath,
    ['dist/benchmarks/gpu/replay.js', device],
    { seconds: 30, quiet: true },
  );
  if (recorded !== null) {
    const figures = JSON.parse(recorded);
    stage.measured('recorded', figures);
    console.log(`   ${recordedLine(figures)}`);
  }

  // A model's process says what it measured as soon as it has, so that one that takes too long has said something.
  for (const [what, kernels, env, seconds] of [
    ['generate', 'plain', {}, 120],
    ['lora', 'plain', {}, 50],
    ['generate', 'Hopper', hopperOn, 100],
    ['lora', 'Hopper', hopperOn, 40],
  ]) {
    const limit = Math.max(0, Math.min(seconds, stage.secondsLeft));
    await stage.list(`Llama-3.1-8B shape, ${kernels} kernels`, llama8bMeasurements[what], {
      seconds: limit,
      patience: limit,
      start: () => ({
        command: process.execPath,
        args: ['dist/benchmarks/gpu/llama8b.js', what, device, String(limit)],
        env,
      }),
      parse(line) {
        if (!line.startsWith('{')) return null;
        const { item, ...figures } = JSON.parse(line);
        if (figures.skipped) return { item, skipped: figures.skipped };
        return { item, detail: modelLine(figures), figures: ['models', { ...figures, kernels }] };
      },
    });
  }
}

/** What a process of llama8b measures, in its order. */
const llama8bMeasurements = {
  generate: ['generate, 100 tokens', 'generate, 1000 tokens', 'generate, not invariant, 100 tokens'],
  lora: ['lora'],
};

function measurementOf(line) {
  if (!line.startsWith('{')) return null;
  const { item, seconds, failed, result } = JSON.parse(line);
  if (failed) return { item, seconds, failed };
  return { item, seconds, detail: operationLine(result), figures: ['operations', result] };
}

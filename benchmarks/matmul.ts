/** Matrix products beside torch and onnxruntime, against the multiply-add rate that this program measures. */
import { formatPercent } from '../src/bench/format.js';
import { commandPeer, measureOp, type OpMeasurement, titleOf, torchPeer } from '../src/bench/measure_op.js';
import { findOpBench } from '../src/bench/ops/index.js';
import { bestRates, type Rates } from '../src/bench/rates.js';
import { parseShape } from '../src/bench/shape.js';
import { formatSeconds } from '../src/bench/timing.js';
import { progress } from './common/contest.js';
import { readOptions } from './common/options.js';
import { runBenchmark } from './common/run.js';

const options = readOptions({
  shapes: ['1024x1024x1024,64x1536x576,64x576x1536', 'MxNxK with commas between'],
  dtypes: ['f32,bf16', 'f32, bf16'],
  operands: ['warm,cold', 'warm: the same every call; cold: others each call, beyond the caches'],
  threads: [0, 'of everybody; 0: every core'],
  python: ['python3', 'interpreter of the torch peer'],
  peers: ['torch,onnxruntime', 'torch, onnxruntime; none'],
  samples: [20, 'samples of each, in turn'],
  'sample-ms': [50, 'calls are repeated until a sample takes about this long'],
  out: ['benchmarks/results', 'folder of the results'],
});

const onnxruntime = commandPeer(
  'onnxruntime',
  [process.execPath, 'onnxruntime.mjs'],
  () => 'MatMul with a constant right factor, packed beforehand',
);
const wanted = options.peers.split(',');
const peers = [torchPeer(options.python), onnxruntime].filter(({ name }) => wanted.includes(name));

await runBenchmark(
  options,
  async (device) => {
    const bench = findOpBench('matmul');
    const measured: OpMeasurement[] = [];
    for (const operands of options.operands.split(',')) {
      for (const dtype of options.dtypes.split(',') as ('f32' | 'bf16')[]) {
        for (const sizes of options.shapes.split(',')) {
          const shape = parseShape(sizes, bench.shape);
          const { samples, 'sample-ms': milliseconds } = options;
          const warm = operands === 'warm';
          measured.push(
            await measureOp(device, bench, { dtype, shape, samples, sampleSeconds: milliseconds / 1000, warm, peers }),
          );
          progress(`${titleOf(measured.at(-1)!)} ${operands}`);
        }
      }
    }
    return measured;
  },
  (measured, around) => {
    // The best that was seen at any time: a peak measured while something else ran would flatter.
    const rates = measured.map((measurement) => measurement.rates).reduce(bestRates, around);
    return {
      name: 'matmul',
      rates,
      title: 'Matrix products C[M,N] = A[M,K] · B[N,K]ᵀ',
      conditions: { Settings: options },
      tables: ['warm', 'cold']
        .filter((operands) => options.operands.split(',').includes(operands))
        .map((operands) => ({
          title: operands === 'warm' ? 'The same operands every call' : 'Other operands every call, beyond the caches',
          columns: ['M×N×K', 'ours', 'GFLOP/s', 'of peak', 'best', 'peers: time (ours is faster by)'],
          rows: measured
            .filter(({ warm }) => warm === (operands === 'warm'))
            .map((measurement) => row(measurement, rates)),
        })),
      notes: [
        `Median of ${options.samples} samples, everybody in turn sample by sample; best: the least of them. Peak: the best multiply-add rate of f32, or of bf16 dot products, measured before and after each row. Ours is timed on the stream, a peer around its call. With the same operands every call, a quarter as many calls go untimed before each sample, as who had the turn before leaves other data in the caches.`,
        'A product of bf16 factors gives bf16. torch multiplies into a given result; onnxruntime has its right factor packed beforehand, ours and torch have not.',
      ],
      data: { measured },
    };
  },
);

function row({ shape, dtype, time, gflops, peers }: OpMeasurement, { flops }: Rates): string[] {
  const theirs = peers.map((peer) =>
    'unavailable' in peer
      ? `no ${peer.name}: ${peer.unavailable}`
      : `${peer.name} ${formatSeconds(peer.time.median)} (${peer.ratio.toFixed(2)})`,
  );
  const ofPeak = (gflops! * 1e9) / flops[dtype];
  return [
    `${shape.M}×${shape.N}×${shape.K} ${dtype}`,
    formatSeconds(time.median),
    gflops!.toFixed(0),
    formatPercent(ofPeak),
    formatPercent((ofPeak * time.median) / time.best),
    theirs.join('; '),
  ];
}

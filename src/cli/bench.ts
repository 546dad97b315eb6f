import type { Command } from 'commander';
import type { GenerationMeasurement } from '../bench/measure_generation.js';
import type { OpMeasurement } from '../bench/measure_op.js';
import { defaultDevice, withModel } from './load.js';
import { type GlobalOptions, integer, number } from './options.js';

const examples = `
The floor is the least time the machine could need: the operations of matrix products at its multiply-add rate plus the bytes
at its memory bandwidth, both measured in the same run. Successive calls take other operands, so that no cache holds them;
with --warm they take the same ones. --peer runs torch (transformers, for generate) alternately with ours.

Examples:
  $ compress-distill bench list                                              what there is, with the sizes of --shape
  $ compress-distill bench matmul --shape M=64,N=1536,K=576 --dtype bf16
  $ compress-distill bench matmul --shape 1024x1024x1024 --warm --peer --python venv/bin/python
  $ compress-distill bench paged-attention --shape B=64,C=1024 --dtype bf16 --threads 1 --json
  $ compress-distill bench generate --shape requests=32,input=128,output=64 --dtype bf16`;

interface Options extends GlobalOptions {
  shape?: string;
  model: string;
  samples?: number;
  sampleMs: number;
  warm?: true;
  peer?: true;
  python: string;
  json?: true;
}

export function addBench(program: Command): void {
  program
    .command('bench')
    .summary('time one operation, or generation, against what the machine can do')
    .description('Times an operation on any device and says what fraction of the least possible time that is.')
    .argument('<what>', 'an operation, `generate`, or `list`')
    .option('--shape <sizes>', 'M=64,N=1536,K=576, or 64x1536x576 in the order of `bench list`')
    .option('--warm', 'the same operands every call')
    .option('--peer', 'compare with torch or transformers, if Python can import it')
    .option('--python <path>', 'the interpreter for --peer', 'python3')
    .option('--samples <count>', 'measurements to take the median of (default: 20; generate: 3)', integer(1))
    .option('--sample-ms <time>', 'calls are repeated until a measurement takes about this long', number, 20)
    .option('--model <model>', 'of generate', 'smollm2-135m-instruct')
    .option('--json', 'one object on standard output')
    .addHelpText('after', examples)
    .action((what: string, _, self: Command) => bench(what, self.optsWithGlobals()));
}

async function bench(what: string, options: Options): Promise<void> {
  if (what === 'list') return list();
  const measurement = what === 'generate' ? await benchGeneration(options) : await benchOp(what, options);
  if (options.json) return console.log(JSON.stringify(measurement, null, 2));
  const { formatGeneration, formatOp } = await import('../bench/format.js');
  console.log(
    measurement.benchmark === 'generate'
      ? formatGeneration(measurement as GenerationMeasurement)
      : formatOp(measurement as OpMeasurement),
  );
}

async function list(): Promise<void> {
  const { benchName, opBenches } = await import('../bench/ops/index.js');
  const { formatShape } = await import('../bench/shape.js');
  const { generationShape } = await import('../bench/measure_generation.js');
  const line = (name: string, shape: Readonly<Record<string, number>>, computes: string): void =>
    console.log(`${name.padEnd(24)} ${computes}\n${''.padEnd(24)} --shape ${formatShape(shape)}`);
  line('generate', generationShape, 'requests of one length to completion, greedy, with a model');
  for (const entry of opBenches) line(benchName(entry), entry.shape, entry.computes);
}

async function benchGeneration(options: Options): Promise<GenerationMeasurement> {
  const { generationShape, measureGeneration } = await import('../bench/measure_generation.js');
  const { parseShape } = await import('../bench/shape.js');
  const shape = parseShape(options.shape, generationShape);
  const { samples = 3, peer, python } = options;
  return withModel(options.model, options, (loaded) =>
    measureGeneration(loaded, { shape, samples, python: peer ? python : null }),
  );
}

async function benchOp(what: string, options: Options): Promise<OpMeasurement> {
  const { findOpBench } = await import('../bench/ops/index.js');
  const { parseShape } = await import('../bench/shape.js');
  const entry = findOpBench(what);
  const shape = parseShape(options.shape, entry.shape);
  const { measureOp, torchPeer } = await import('../bench/measure_op.js');
  const { Device } = await import('../tensor/device.js');
  const { device: name = defaultDevice, threads, dtype = 'f32', samples = 20, sampleMs, warm = false } = options;
  const device = Device.open(name, { profile: true, ...(threads === undefined ? {} : { threads }) });
  try {
    const peers = options.peer ? [torchPeer(options.python)] : [];
    return await measureOp(device, entry, { dtype, shape, samples, sampleSeconds: sampleMs / 1000, warm, peers });
  } finally {
    await device.close();
  }
}

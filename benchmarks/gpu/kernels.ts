/**
 * Kernels one after another in one process, each beside the least time the GPU could need, the kernel for Hopper, and torch. Prints a
 * JSON object for each, as soon as it is measured.
 *
 *   node dist/benchmarks/gpu/kernels.js [--device cuda:0] [--python python3|none] [--hopper attention,…] 'matmul M=64,N=64,K=64' …
 */
import { parseArgs } from 'node:util';
import { commandPeer, KeptPeer, measureOp, type OpPeer, torchPeer } from '../../src/bench/measure_op.js';
import { findOpBench } from '../../src/bench/ops/index.js';
import { parseShape } from '../../src/bench/shape.js';
import { Device } from '../../src/tensor/device.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: 'string', default: 'cuda:0' },
    python: { type: 'string', default: 'python3' },
    hopper: { type: 'string', default: '' },
  },
});
const emulated = values.device === 'cuda-emulated';
const withHopper = new Set(values.hopper.split(','));

const hopper = new KeptPeer(
  commandPeer(
    'Hopper',
    [process.execPath, '../../dist/benchmarks/gpu/op_peer.js', values.device, 'Hopper'],
    ({ op }) => (withHopper.has(op) ? 'the kernel for Hopper' : undefined),
    { COMPRESS_DISTILL_HOPPER_KERNELS: '1' },
  ),
);
const torch = values.python === 'none' ? null : new KeptPeer(torchPeer(values.python));

const device = Device.open(values.device, { profile: true });
for (const item of positionals) {
  const [what, shape] = item.split(' ') as [string, string];
  const begin = performance.now();
  const told: Record<string, unknown> = { item };
  try {
    const bench = findOpBench(what);
    const peers: OpPeer[] = [hopper, ...(torch ? [torch] : [])].filter((peer) => peer.computes(bench) !== undefined);
    const samples = emulated
      ? { samples: 1, sampleSeconds: 0, warm: true }
      : { samples: 5, sampleSeconds: 0.02, warm: false };
    told.result = await measureOp(device, bench, {
      dtype: 'bf16',
      shape: parseShape(shape, bench.shape),
      ...samples,
      peers,
    });
  } catch (error) {
    told.failed = (error as Error).message.split('\n')[0];
  }
  console.log(JSON.stringify({ ...told, seconds: (performance.now() - begin) / 1000 }));
  if (/ is lost: /.test(String(told.failed))) process.exit(1); // nothing will run here any more
}
await hopper.stop();
await torch?.stop();
await device.close();

/**
 * Our own operations as somebody else's process, so that kernels that an environment variable chooses are measured beside those
 * without it. Speaks the protocol of benchmarks/peers.
 */
import { createInterface } from 'node:readline';
import { OpRunner } from '../../src/bench/op_runner.js';
import type { FloatDType } from '../../src/bench/operands.js';
import { findOpBench } from '../../src/bench/ops/index.js';
import type { Shape } from '../../src/bench/shape.js';
import { Device } from '../../src/tensor/device.js';

interface Request {
  readonly task: 'name' | 'prepare' | 'run' | 'release';
  readonly op: string;
  readonly dtype: FloatDType;
  readonly shape: Shape;
  readonly copies: number;
  readonly calls: number;
}

const [deviceName = 'cuda:0', title = 'ours'] = process.argv.slice(2);
const device = Device.open(deviceName, { profile: true });
let runner: OpRunner | null = null;

async function answer({ task, op, dtype, shape, copies, calls }: Request): Promise<string | number | boolean> {
  if (task === 'name') return title;
  if (task === 'run') return runner!.run(calls);
  runner?.dispose();
  runner = task === 'prepare' ? new OpRunner(device, findOpBench(op), { dtype, shape, copies }) : null;
  return true;
}

for await (const line of createInterface({ input: process.stdin })) {
  const reply = await answer(JSON.parse(line) as Request).then(
    (value) => ({ answer: value }),
    (error: Error) => ({ error: error.message.split('\n')[0] }),
  );
  console.log(JSON.stringify(reply));
}
await device.close();

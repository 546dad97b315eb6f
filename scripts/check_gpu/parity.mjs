// Right results: kernels against the CPU's, products row by row, NCCL with one rank, a small model's tokens and training steps.
import { checkArguments, hopperOn, hopperOperations, kernelCheck, operations, rowsOf } from './kernels.mjs';

export async function parity(stage, { device, emulated, plugin }) {
  const plain = { COMPRESS_DISTILL_MATMUL: 'plain' };
  const kernels = (title, names, env, seconds) =>
    stage.list(title, names, {
      seconds,
      patience: 60,
      start: (left) => ({ command: kernelCheck, args: checkArguments(plugin, emulated, left), env }),
      parse: rowsOf(),
    });
  const script = (title, name, env, seconds) =>
    stage.command(title, process.execPath, [`dist/benchmarks/gpu/${name}.js`, device], { env, seconds });

  await kernels('kernel against the CPU', operations(emulated), {}, 150);
  await kernels('Hopper kernel against the CPU', emulated ? ['attention'] : hopperOperations, hopperOn, 90);
  if (emulated) stage.skip('our own products in place of cuBLASLt', 'emulation has no cuBLASLt, so they ran already');
  else {
    await kernels('our own products in place of cuBLASLt', ['matmul'], plain, 30);
    await script('rows of our own products', 'rows', plain, 40);
  }
  await script('rows of products', 'rows', {}, 40);
  await script('collectives of one rank', 'collectives', {}, 40);
  await script('tokens and training steps', 'models', {}, 60);
  await script('tokens and training steps, Hopper kernels', 'models', hopperOn, 60);
}

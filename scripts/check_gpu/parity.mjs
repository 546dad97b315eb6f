// Right results: kernels against the CPU's, products row by row, NCCL with one rank, a small model's tokens and training steps.
export async function parity(runner, { device, emulated, plugin }) {
  const check = 'build/Release/kernel-check';
  const plain = { COMPRESS_DISTILL_MATMUL: 'plain' };
  const orders = emulated ? ['--order', 'forward'] : [];
  await runner.run('every kernel against the CPU', check, ['--backend', plugin, ...orders]);
  if (emulated) runner.skip('our own products in place of cuBLASLt', 'emulation has no cuBLASLt, so they ran already');
  else {
    await runner.run('our own products against the CPU', check, ['--backend', plugin, '--op', 'matmul'], {
      env: plain,
    });
    await runner.run('rows of our own products', process.execPath, ['dist/benchmarks/gpu/rows.js', device], {
      env: plain,
    });
  }
  await runner.run('rows of products', process.execPath, ['dist/benchmarks/gpu/rows.js', device]);
  await runner.run('collectives of one rank', process.execPath, ['dist/benchmarks/gpu/collectives.js', device]);
  await runner.run('tokens and training steps', process.execPath, ['dist/benchmarks/gpu/models.js', device]);
}

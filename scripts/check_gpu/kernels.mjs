// kernel-check as a list of operations, and which of them have a second kernel, for Hopper.
import { spawnSync } from 'node:child_process';

export const kernelCheck = 'build/Release/kernel-check';

/** What turns on the kernels of kernels/HOPPER.md. */
export const hopperOn = { COMPRESS_DISTILL_HOPPER_KERNELS: '1' };

/** Operations that take another way with them. */
export const hopperOperations = [
  'attention',
  'attention_backward',
  'paged_attention',
  'token_logprobs',
  'token_logprobs_backward',
  'linear_cross_entropy',
  'matmul_low_rank',
  'quantised_matmul',
];

/** In emulation, whose kernels `npm test` checks anyway: enough to see that a stage runs. */
const emulatedOperations = ['scale', 'rms_norm'];

/** Operations with cases. */
export function operations(emulated) {
  if (emulated) return emulatedOperations;
  const { status, stdout, stderr, error } = spawnSync(kernelCheck, ['--list'], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${kernelCheck} --list: ${error?.message ?? stderr}`);
  return [...new Set(stdout.split('\n').flatMap((line) => /^(\w+): /.exec(line)?.[1] ?? []))];
}

/** Arguments that check these on a plug-in. */
export const checkArguments = (plugin, emulated, names) => [
  '--backend',
  plugin,
  ...(emulated ? ['--order', 'forward'] : []),
  ...names.flatMap((name) => ['--op', name]),
];

/** Reads its lines: an operation's problems come before its row. @param complaint (line) → another program's words of one, or null. */
export function rowsOf(complaint = () => null) {
  let problems = [];
  return (line) => {
    const row = /^(\w+) +(\d+) +(\S+) +(\d+\.\d+) *(FAILED)?$/.exec(line);
    const problem = complaint(line) ?? /^ {2}(\S.*)$/.exec(line)?.[1];
    if (!row) {
      if (problem) problems.push(problem);
      return null;
    }
    const [, item, cases, worst, seconds, failed] = row;
    const [first, ...more] = problems;
    problems = [];
    const reason = first && `${first}${more.length > 0 ? ` (and ${more.length} more)` : ''}`;
    const detail = `${cases} cases, worst error ${worst} of what is allowed`;
    return {
      item,
      seconds: Number(seconds),
      detail,
      ...(failed || first ? { failed: reason ?? 'it says no more' } : {}),
    };
  };
}

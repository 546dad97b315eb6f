import { didYouMean, UserError } from '../../errors.js';
import type { OpBench } from '../op_bench.js';
import { attention } from './attention.js';
import { crossEntropy } from './cross_entropy.js';
import { elementwise } from './elementwise.js';
import { layers } from './layers.js';
import { matrix } from './matrix.js';
import { optimizer } from './optimizer.js';
import { sampling } from './sampling.js';

export const opBenches: readonly OpBench[] = [
  ...matrix,
  ...attention,
  ...crossEntropy,
  ...layers,
  ...sampling,
  ...optimizer,
  ...elementwise,
];

/** Operations without a benchmark of their own, and why. */
export const withoutBench: Readonly<Record<string, string>> = {
  clip_factor: 'two numbers',
  take_sampled: 'a token for each sequence',
  all_reduce: 'needs several ranks',
  all_gather: 'needs several ranks',
  reduce_scatter: 'needs several ranks',
  broadcast: 'needs several ranks',
  local_ids: 'a comparison for each token',
  dequantise: 'once for a weight, when an adapter is merged into it',
  merge_logprobs: 'a few numbers for each token and rank',
};

/** As on the command line: `paged-attention`; `cross-entropy` is short for `linear-cross-entropy`. */
export const benchName = ({ op }: Pick<OpBench, 'op'>): string =>
  op === 'linear_cross_entropy' ? 'cross-entropy' : op.replaceAll('_', '-');

/** @throws UserError with the nearest name. */
export function findOpBench(name: string): OpBench {
  const wanted = name.replaceAll('_', '-').replace(/^linear-cross-entropy$/, 'cross-entropy');
  const found = opBenches.find((bench) => benchName(bench) === wanted);
  if (found) return found;
  const names = ['generate', ...opBenches.map(benchName)];
  throw new UserError(
    `Expected something to benchmark but received '${name}'${didYouMean(wanted, names)}; there are ${names.join(', ')}`,
  );
}

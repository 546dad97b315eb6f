import type { EngineStatistics } from '../engine/statistics.js';

/** Numbers of the same make, nested or not. */
type Numbers = { readonly [name: string]: number | Numbers };

/** What several engines did together. Times add up: two engines that worked a second each have worked for two. */
export function sumStatistics(all: readonly EngineStatistics[]): EngineStatistics {
  const total = add(all as readonly unknown[] as readonly Numbers[]) as unknown as EngineStatistics;
  return {
    ...total,
    kvUse: total.kvBlocks.used / total.kvBlocks.total,
    peakSequences: Math.max(...all.map(({ peakSequences }) => peakSequences)),
  };
}

function add(all: readonly Numbers[]): Numbers {
  const sums = Object.keys(all[0]!).map((name) => {
    const values = all.map((numbers) => numbers[name]!);
    const sum = typeof values[0] === 'number' ? (values as number[]).reduce((a, b) => a + b) : add(values as Numbers[]);
    return [name, sum];
  });
  return Object.fromEntries(sums) as Numbers;
}

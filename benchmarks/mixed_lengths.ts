/** Requests of very different lengths to completion: what a static batch wastes and a scheduler must not. */
import { floorOf } from '../src/bench/floor.js';
import { formatPercent } from '../src/bench/format.js';
import { generationWork } from '../src/bench/generation.js';
import { summarise } from '../src/bench/timing.js';
import { mixedWorkload, tokensOf, uniformWorkload, type Workload } from '../src/bench/workload.js';
import { absenceNotes, takeTurns } from './common/contest.js';
import { generatorOptions, openGenerators } from './common/generators.js';
import { readOptions } from './common/options.js';
import { runBenchmark } from './common/run.js';

const options = readOptions({
  ...generatorOptions,
  requests: [256, 'requests'],
  low: [100, 'shortest prompt, and shortest output'],
  high: [1024, 'longest prompt, and longest output'],
  seed: [0, 'of lengths and prompts'],
  rounds: [1, 'times that everybody runs'],
  'peer-requests': [0, 'requests that peers complete, the first ones; 0: all'],
  sequences: [128, 'sequences that ours runs at once'],
  'kv-cache-gib': [6, "memory for ours' keys and values, each dtype"],
  'llama-sequences': [32, 'sequences that llama.cpp runs at once'],
  'llama-batch': [512, "llama.cpp's batch size in tokens"],
  'transformers-batch': [32, 'requests of a static batch'],
});
const { requests, low, high, rounds } = options;

await runBenchmark(
  options,
  async (device) => {
    const contest = await openGenerators(device, options, {
      engine: {
        maxModelLen: 2 * high,
        maxNumSeqs: options.sequences,
        kvCacheBytes: options['kv-cache-gib'] * 2 ** 30,
      },
      transformersBatch: options['transformers-batch'],
      llama: { sequences: options['llama-sequences'], contextSize: 2 * high + 1, batchSize: options['llama-batch'] },
    });
    try {
      const { ours, contenders } = contest;
      const { vocabSize } = ours[0]!.model.config;
      await takeTurns(contenders, 1, (contender) => contender.run(uniformWorkload(4, low, 2, vocabSize, 1)));
      const workload = mixedWorkload(requests, low, high, vocabSize, options.seed);
      const fewer = mixedWorkload(options['peer-requests'] || requests, low, high, vocabSize, options.seed);
      const workloadOf = (index: number): Workload => (index < ours.length ? workload : fewer);
      const runs = await takeTurns(contenders, rounds, (contender) =>
        contender.run(workloadOf(contenders.indexOf(contender))),
      );
      const measured = contenders.map(({ name, settings }, index) => ({
        name,
        settings,
        requests: workloadOf(index).prompts.length,
        tokens: tokensOf(workloadOf(index)),
        time: summarise(runs[index]!.map(({ seconds }) => seconds)),
        details: runs[index]!.at(-1)!.details ?? null,
      }));
      const work = ours.map(({ model }) => ({ dtype: model.dtype, ...generationWork(model, workload) }));
      return { model: ours[0]!.files.name, tokens: tokensOf(workload), measured, work, notes: absenceNotes(contest) };
    } finally {
      await contest.close();
    }
  },
  ({ model, tokens, measured, work, notes }, rates) => ({
    name: `mixed-lengths-${requests}`,
    title: `Generation: ${requests} requests, prompts and outputs of ${low} to ${high} tokens`,
    conditions: { Model: model, Tokens: `${tokens.input} in, ${tokens.output} out`, Settings: options },
    tables: [
      {
        columns: [
          '',
          'requests',
          'seconds',
          'output tokens/s',
          `ours ${options.ours.split(',')[0]} is faster by`,
          'of the floor',
          'steps',
          'preemptions',
        ],
        rows: measured.map(({ name, requests: completed, tokens: own, time, details }, index) => [
          name,
          String(completed),
          time.median.toFixed(1),
          (own.output / time.median).toFixed(1),
          (tokens.output / measured[0]!.time.median / (own.output / time.median)).toFixed(2),
          work[index] ? formatPercent(floorOf(work[index], work[index].dtype, rates).seconds / time.median) : '',
          details ? String(details.steps) : '',
          details ? String(details.preemptions) : '',
        ]),
      },
    ],
    notes: [
      `Lengths uniform, seed ${options.seed}; all requests there from the start; greedy, no end of sequence. Seconds to the last token of the last request, the median of ${rounds}.`,
      ...(options['peer-requests'] === 0
        ? []
        : [
            `Peers complete the first ${options['peer-requests']} of the requests, and are compared by output tokens/s. Towards the end fewer run at once, which takes a larger share of a shorter run.`,
          ]),
      'Ours and transformers dequantise the weights of the file; llama.cpp computes with them as they are.',
      'transformers has no scheduler here: static batches of requests with similar output lengths, padded on the left.',
      'The floor has every request in every step until it ends.',
      ...notes,
    ],
    data: { tokens, measured, work },
  }),
);

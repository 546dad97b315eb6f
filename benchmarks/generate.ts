/** Requests of one length, all at once, greedy: output tokens a second beside llama.cpp and transformers. */
import { floorOf } from '../src/bench/floor.js';
import { formatPercent } from '../src/bench/format.js';
import { generationWork } from '../src/bench/generation.js';
import { summarise } from '../src/bench/timing.js';
import { uniformWorkload } from '../src/bench/workload.js';
import { absenceNotes, takeTurns } from './common/contest.js';
import { agreement, generatorOptions, openGenerators } from './common/generators.js';
import { readOptions } from './common/options.js';
import { runBenchmark } from './common/run.js';

const options = readOptions({
  ...generatorOptions,
  requests: [32, 'requests'],
  input: [128, 'prompt tokens of each'],
  output: [128, 'tokens that each generates'],
  rounds: [3, 'times that everybody runs'],
  'llama-batch': [512, "llama.cpp's batch size in tokens"],
});
const { requests, input, output, rounds } = options;

await runBenchmark(
  options,
  async (device) => {
    const length = input + output;
    const contest = await openGenerators(device, options, {
      engine: { maxNumSeqs: requests },
      transformersBatch: requests,
      llama: { sequences: requests, contextSize: length + 1, batchSize: options['llama-batch'] },
    });
    try {
      const { ours, contenders } = contest;
      const { vocabSize } = ours[0]!.model.config;
      const warmUp = uniformWorkload(requests, input, 2, vocabSize, 1);
      await takeTurns(contenders, 1, (contender) => contender.run(warmUp));
      const workload = uniformWorkload(requests, input, output, vocabSize);
      const runs = await takeTurns(contenders, rounds, (contender) => contender.run(workload));
      const reference = contenders.findIndex(({ name }) => /^transformers .* f32$/.test(name));
      const measured = contenders.map(({ name, settings }, index) => ({
        name,
        settings,
        time: summarise(runs[index]!.map(({ seconds }) => seconds)),
        details: runs[index]!.at(-1)!.details ?? null,
        agreement: reference < 0 ? null : agreement(runs[index]!.at(-1)!.tokens, runs[reference]!.at(-1)!.tokens),
      }));
      const work = ours.map(({ model }) => ({ dtype: model.dtype, ...generationWork(model, workload) }));
      return { model: ours[0]!.files.name, measured, work, notes: absenceNotes(contest) };
    } finally {
      await contest.close();
    }
  },
  ({ model, measured, work, notes }, rates) => {
    const best = measured[0]!.time.median;
    const rows = measured.map(({ name, time, details, agreement: agrees }, index) => {
      const floor = work[index] ? floorOf(work[index], work[index].dtype, rates).seconds : null;
      return [
        name,
        ((requests * output) / time.median).toFixed(1),
        ((requests * output) / time.best).toFixed(1),
        (time.median / best).toFixed(2),
        floor === null ? '' : formatPercent(floor / time.median),
        details ? formatPercent(details.noKernelShare!) : '',
        agrees === null ? '' : formatPercent(agrees),
      ];
    });
    return {
      name: `generate-${requests}x${input}x${output}`,
      title: `Generation: ${requests} requests, ${input} tokens in, ${output} out`,
      conditions: { Model: model, Settings: options },
      tables: [
        {
          columns: [
            '',
            'output tokens/s',
            'best',
            `ours ${options.ours.split(',')[0]} is faster by`,
            'of the floor',
            'no kernel runs',
            'same tokens',
          ],
          rows,
        },
      ],
      notes: [
        `Median of ${rounds} rounds, everybody in turn; from the first request in to the last token out, prompts included. Greedy, the same random prompts, no end of sequence.`,
        'Ours and transformers dequantise the weights of the file; llama.cpp computes with them as they are.',
        'The floor: matrix products at the measured rate, then weights once a step and keys and values at the measured bandwidth.',
        'No kernel runs: the share of the time in steps that no operation accounts for; scheduling is in it.',
        'Same tokens: the share of tokens before the first that differs from transformers f32, request by request.',
        ...notes,
      ],
      data: { measured, work },
    };
  },
);

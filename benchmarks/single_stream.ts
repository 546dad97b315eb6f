/** One request at a time: decoding reads all weights for every token, so memory bandwidth decides. */
import { statSync } from 'node:fs';
import { formatPercent } from '../src/bench/format.js';
import { type Generator, kvBytesPerToken, stepWeightBytes } from '../src/bench/generation.js';
import { summarise } from '../src/bench/timing.js';
import { uniformWorkload } from '../src/bench/workload.js';
import { absenceNotes, takeTurns } from './common/contest.js';
import { generatorOptions, openGenerators } from './common/generators.js';
import { readOptions } from './common/options.js';
import { runBenchmark } from './common/run.js';

const options = readOptions({
  ...generatorOptions,
  input: [128, 'prompt tokens'],
  output: [128, 'tokens to generate after the first'],
  rounds: [5, 'times that everybody runs'],
});
const { input, output, rounds } = options;

await runBenchmark(
  options,
  async (device) => {
    const length = input + output + 1;
    const contest = await openGenerators(device, options, {
      engine: { maxNumSeqs: 1 },
      transformersBatch: 1,
      llama: { sequences: 1, contextSize: length + 1, batchSize: 512 },
    });
    try {
      const { ours, contenders } = contest;
      const [{ model, files }] = ours as [(typeof ours)[0]];
      const { vocabSize } = model.config;
      const first = uniformWorkload(1, input, 1, vocabSize);
      const whole = uniformWorkload(1, input, output + 1, vocabSize);
      // The prompt and the first token alone, then the same with the rest: the difference is decoding.
      const run = async (contender: Generator) => {
        const prefill = (await contender.run(first)).seconds;
        return { prefill, decode: (await contender.run(whole)).seconds - prefill };
      };
      await takeTurns(contenders, 1, run);
      const runs = await takeTurns(contenders, rounds, run);
      const weights = stepWeightBytes(model) / (model.dtype === 'bf16' ? 2 : 4);
      const kv = (kvBytesPerToken(model) / (model.dtype === 'bf16' ? 2 : 4)) * (input + (output + 1) / 2);
      const measured = contenders.map(({ name, settings }, index) => {
        const bytesPerElement = /f32$/.test(name) ? 4 : 2;
        // llama.cpp reads the file's blocks, and keys and values in f16.
        const read = /^llama/.test(name) ? statSync(files.path).size + 2 * kv : bytesPerElement * (weights + kv);
        return {
          name,
          settings,
          prefill: summarise(runs[index]!.map(({ prefill }) => prefill)),
          decode: summarise(runs[index]!.map(({ decode }) => decode)),
          bytesPerToken: read,
        };
      });
      return { model: files.name, measured, notes: absenceNotes(contest) };
    } finally {
      await contest.close();
    }
  },
  ({ model, measured, notes }, rates) => ({
    name: 'single-stream',
    title: `Single stream: ${input} tokens in, ${output} decoded`,
    conditions: { Model: model, Settings: options },
    tables: [
      {
        columns: [
          '',
          'decode tokens/s',
          'MB read a token',
          'GB/s reached',
          'of read bandwidth',
          'first token ms',
          `ours ${options.ours.split(',')[0]} is faster by`,
        ],
        rows: measured.map(({ name, prefill, decode, bytesPerToken }) => {
          const rate = output / decode.median;
          return [
            name,
            rate.toFixed(1),
            (bytesPerToken / 1e6).toFixed(0),
            ((rate * bytesPerToken) / 1e9).toFixed(1),
            formatPercent((rate * bytesPerToken) / Math.max(rates.read, rates.copy)),
            (1000 * prefill.median).toFixed(0),
            (decode.median / measured[0]!.decode.median).toFixed(2),
          ];
        }),
      },
    ],
    notes: [
      `Median of ${rounds} rounds, everybody in turn. Decoding: the time for ${output + 1} tokens less the time for the first.`,
      'Read a token: every weight once (the embedding only as the head) and keys and values of half the output. llama.cpp reads 4-bit blocks, about a third of bf16: what it saves is not speed of ours.',
      'The last-level cache may serve part of it, so more than the bandwidth of the memory can be reached.',
      ...notes,
    ],
    data: { measured },
  }),
);

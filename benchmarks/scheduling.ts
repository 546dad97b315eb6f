/** What a step costs beside its kernels: the share of its time in JavaScript, at many sequences. */
import { formatPercent } from '../src/bench/format.js';
import { engineGenerator } from '../src/bench/generation.js';
import { uniformWorkload } from '../src/bench/workload.js';
import { loadModel } from '../src/nn/load.js';
import { takeTurns } from './common/contest.js';
import { readOptions } from './common/options.js';
import { runBenchmark } from './common/run.js';

const options = readOptions({
  model: ['smollm2-135m-instruct', 'a GGUF file, a folder or a fetched name'],
  threads: [0, 'CPU threads; 0: every core'],
  out: ['benchmarks/results', 'folder of the results'],
  requests: [64, 'sequences, all at once'],
  input: [64, 'prompt tokens of each'],
  output: [128, 'tokens that each generates'],
  rounds: [3, 'runs of each dtype'],
});
const { requests, input, output, rounds } = options;

await runBenchmark(
  options,
  async (device) => {
    const ours = [];
    for (const dtype of ['bf16', 'f32'] as const) ours.push(await loadModel(options.model, { device, dtype }));
    const engines = ours.map((loaded) => engineGenerator(loaded, { maxNumSeqs: requests }));
    try {
      const workload = uniformWorkload(requests, input, output, ours[0]!.model.config.vocabSize);
      const runs = await takeTurns(engines, rounds + 1, (engine) => engine.run(workload));
      return engines.map(({ name, settings }, index) => ({
        name,
        settings,
        runs: runs[index]!.slice(1).map(({ seconds, details }) => ({ seconds, ...details })),
      }));
    } finally {
      for (const engine of engines) await engine.stop();
      for (const { model } of ours) model.dispose();
    }
  },
  (measured) => ({
    name: `scheduling-${requests}`,
    title: `Scheduling: what a step of ${requests} sequences costs beside its kernels`,
    conditions: { Settings: options },
    tables: [
      {
        columns: ['', 'steps', 'ms a step', 'of it in JavaScript'],
        rows: measured.flatMap(({ name, runs }) =>
          runs.map((run) => {
            const { seconds, steps, schedulingShare } = run as {
              seconds: number;
              steps: number;
              schedulingShare: number;
            };
            return [name, String(steps), ((1000 * seconds) / steps).toFixed(1), formatPercent(schedulingShare)];
          }),
        ),
      },
    ],
    notes: [
      'In JavaScript: scheduling, packing the inputs, enqueueing the step, committing the tokens; detokenising runs while the stream computes. A row for each run after the first.',
    ],
    data: { measured },
  }),
);

/** What a step costs beside its kernels, at many sequences: time in which none runs, and time in JavaScript. */
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
        runs: runs[index]!.slice(1).map(({ seconds, details }) => ({ seconds, details: details! })),
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
        columns: [
          '',
          'steps',
          'ms a step',
          'no kernel runs',
          'of it for scheduling',
          'JavaScript, ms a step',
          'of the step',
        ],
        rows: measured.flatMap(({ name, runs }) =>
          runs.map(({ seconds, details }) => {
            const { steps, schedulingShare, idleShare, noKernelShare } = details;
            const milliseconds = (1000 * seconds) / steps!;
            return [
              name,
              String(steps),
              milliseconds.toFixed(1),
              formatPercent(noKernelShare!),
              formatPercent(idleShare!),
              (schedulingShare! * milliseconds).toFixed(2),
              formatPercent(schedulingShare!),
            ];
          }),
        ),
      },
    ],
    notes: [
      'No kernel runs: the share of the time in steps that no operation of the stream accounts for. It holds everything that could be saved: waiting for the host, waking threads, going from one operation to the next. That is the overhead.',
      'Of it for scheduling: committing a step and scheduling the next one where no other step is in progress, which is so at the start and the end only: a step is scheduled while the one before it runs.',
      'JavaScript: that, and packing the inputs and enqueueing some 500 operations, which runs while the stream computes. Its thread has no core of its own where the device uses all of them, so the time includes waiting for one. Detokenising is not in it; it runs while the stream computes.',
      'A row for each run after the first.',
    ],
    data: { measured },
  }),
);

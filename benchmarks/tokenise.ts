/** Training data at scale: a million conversations tokenised, reopened and packed, and what that does to memory and event loop. */
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type IntervalHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { pipeline } from 'node:stream/promises';
import { runMain } from '../src/cli/run_main.js';
import { Draws } from '../src/data/draws.js';
import { loadDataset } from '../src/training/dataset.js';
import type { Documents } from '../src/training/documents.js';
import { packDocuments } from '../src/training/packing.js';
import { Purpose, uniform } from '../src/training/philox.js';
import { splitDocuments } from '../src/training/validation.js';
import { resolveModel } from '../src/weights/model_files.js';
import { readEnvironment } from './common/environment.js';
import { readOptions } from './common/options.js';
import { writeResult } from './common/result.js';

const options = readOptions({
  model: ['smollm2-135m-instruct', 'a GGUF file, a folder or a fetched name, for tokenizer and template'],
  rows: [1_000_000, 'conversations'],
  words: [12, 'of an answer; a question has half as many'],
  sequence: [2048, 'tokens of a pack'],
  threads: [0, 'that tokenise; 0: every core'],
  out: ['benchmarks/results', 'folder of the results'],
});

const vocabulary =
  'the answer is a number of apples trains leave first then we add divide total three boxes with five pens each so it follows that speed times time equals distance and therefore the result must be even because their sum was odd';

/** Short conversations about numbers, by row. */
function* conversations(rows: number, words: number): Generator<string> {
  // Drawing every word would take longer than tokenising it: sentences begin somewhere in a long text.
  const draws = new Draws('benchmark');
  const list = vocabulary.split(' ');
  const text = Array.from({ length: 20_000 }, () => draws.pick(list));
  const slice = (start: number, length: number) => text.slice(start % 19_000, (start % 19_000) + length).join(' ');
  for (let row = 0; row < rows; ++row) {
    const question = `${slice(row * 7919, Math.ceil(words / 2))} ${row}?`;
    const messages = [
      { role: 'user', content: question },
      { role: 'assistant', content: `${slice(row * 104_729, words)} ${row + 1}.` },
    ];
    yield `${JSON.stringify({ id: `row ${row}`, messages })}\n`;
  }
}

interface Measurement<T> {
  readonly result: T;
  readonly seconds: number;
  /** The longest that the event loop stood still. */
  readonly delayMs: number;
  /** Of the process, all its threads, until the end of this. */
  readonly peakMiB: number;
}

async function measure<T>(work: () => Promise<T>): Promise<Measurement<T>> {
  const histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  const begin = performance.now();
  const result = await work();
  const seconds = (performance.now() - begin) / 1000;
  await new Promise((resolve) => setTimeout(resolve, 5)); // a delay counts when it ends
  histogram.disable();
  return { result, seconds, delayMs: histogram.max / 1e6, peakMiB: process.resourceUsage().maxRSS / 1024 };
}

/** Log-normal with a mean near 2,200, as long reasoning traces are distributed, cut at 16,384. */
function traceLengths(count: number): Pick<Documents, 'count' | 'lengths' | 'trained'> {
  const uniforms = uniform(1, Purpose.loraInit, 0, 2 * count, 2 ** -24, 1);
  const lengths = Uint32Array.from({ length: count }, (_, index) => {
    const radius = Math.sqrt(-2 * Math.log(uniforms[2 * index]!));
    const normal = radius * Math.cos(2 * Math.PI * uniforms[2 * index + 1]!);
    return Math.max(1, Math.min(16_384, Math.round(Math.exp(7.3 + 0.9 * normal))));
  });
  return { count, lengths, trained: lengths };
}

await runMain(async () => {
  const environment = readEnvironment();
  const folder = await mkdtemp(join(tmpdir(), 'tokenise-'));
  try {
    const data = join(folder, 'rows.jsonl');
    await pipeline(conversations(options.rows, options.words), createWriteStream(data));
    const megabytes = (await stat(data)).size / 1e6;
    const model = await resolveModel(options.model);
    model.weights.close();
    const before = process.memoryUsage().rss / 2 ** 20;

    const threads = options.threads > 0 ? options.threads : undefined;
    const settings = { model, maxTokens: options.sequence, overlong: 'drop', folder, threads } as const;
    const first = await measure(() => loadDataset([data], settings));
    const second = await measure(() => loadDataset([data], settings));
    const { documents, report } = second.result;
    const split = await measure(() => splitDocuments(documents, 0.05, 0));
    const packed = await measure(() => packDocuments(split.result.training, options.sequence, 0, 0));
    const traces = traceLengths(options.rows);
    const packedTraces = await measure(() => packDocuments(traces, 16_384, 0, 0));

    const row = (name: string, { seconds, delayMs, peakMiB }: Measurement<unknown>, rate: string, result: string) => [
      ...[name, seconds.toFixed(2), rate, result, `${delayMs.toFixed(1)} ms`, `${Math.round(peakMiB)} MiB`],
    ];
    const perSecond = (count: number, { seconds }: Measurement<unknown>) =>
      Math.round(count / seconds).toLocaleString('en');
    const full = (plan: { count: number; efficiency: number }) =>
      `${plan.count.toLocaleString('en')} packs, ${(100 * plan.efficiency).toFixed(2)} % full`;
    const numbers = ({ seconds, delayMs, peakMiB }: Measurement<unknown>) => ({ seconds, delayMs, peakMiB });
    writeResult(options.out, {
      name: 'tokenise',
      title: `Tokenising and packing ${report.rows.toLocaleString('en')} conversations`,
      environment,
      rates: null,
      conditions: {
        Model: model.name,
        Data: `${megabytes.toFixed(0)} MB of JSONL, ${report.tokens.toLocaleString('en')} tokens, ${(report.tokens / report.rows).toFixed(1)} a row`,
        Memory: `${Math.round(before)} MiB before, with the tokenizer`,
        Settings: options,
      },
      tables: [
        {
          columns: ['', 'seconds', 'a second', 'result', 'longest stop of the event loop', 'peak memory'],
          rows: [
            row(
              'tokenise, in threads',
              first,
              `${perSecond(report.rows, first)} rows, ${perSecond(report.tokens, first)} tokens`,
              `${report.rows.toLocaleString('en')} rows`,
            ),
            row('start again', second, `${(megabytes / second.seconds).toFixed(0)} MB`, 'found, contents compared'),
            row(
              'hold out 5 %',
              split,
              `${perSecond(report.rows, split)} rows`,
              `${split.result.validation.count.toLocaleString('en')} rows`,
            ),
            row(
              `pack to ${options.sequence}`,
              packed,
              `${perSecond(split.result.training.count, packed)} rows`,
              full(packed.result),
            ),
            row(
              'pack trace-like lengths to 16,384',
              packedTraces,
              `${perSecond(traces.count, packedTraces)} rows`,
              full(packedTraces.result),
            ),
          ],
        },
      ],
      notes: [
        'Trace-like: log-normal lengths with a mean near 2,200 tokens, cut at 16,384.',
        'The rows are made of about forty words and numbers, and the tokenizer remembers the tokens of words: other text takes longer.',
        'Memory is that of the process with all threads. What grows with the data is the index: 24 bytes a row.',
      ],
      data: {
        tokens: report.tokens,
        megabytes,
        tokenise: numbers(first),
        reopen: numbers(second),
        split: numbers(split),
        pack: { ...numbers(packed), efficiency: packed.result.efficiency },
        packTraces: { ...numbers(packedTraces), efficiency: packedTraces.result.efficiency },
      },
    });
    for (const { result } of [first, second]) result.close();
  } finally {
    await rm(folder, { recursive: true });
  }
});

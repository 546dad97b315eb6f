import type { Command } from 'commander';
import type { Completion } from '../engine/completion.js';
import type { GenerateRequest } from '../engine/prompt.js';
import type { RequestServer } from '../engine/request_server.js';
import type { SamplingParams } from '../engine/sampling_params.js';
import { createProgress, type Progress } from '../pipeline/progress.js';
import { conclude } from './conclude.js';
import { addEngineOptions, pickEngineOptions } from './engine_options.js';
import { namingFlags } from './flags.js';
import { withEngine } from './load.js';
import { addMeshOption, addRequiredOption, type GlobalOptions } from './options.js';
import { leading } from './processes.js';
import { checkPrompts, hashFile, type PromptFile, readPrompts } from './prompts.js';
import { checkOutput, RowOutput } from './row_output.js';
import { addSamplingOptions, pickSampling } from './sampling_options.js';

const examples = `
Rows in, one a line:   {"id": "a", "prompt": "Once upon a time"}
                       {"id": "b", "messages": [{"role": "user", "content": "What is 6 × 7?"}]}
                       {"id": "c", "tokens": [1, 504, 3575], "sampling": {"temperature": 0, "maxTokens": 8}}
A row's "sampling" goes before the options here; its names are theirs in camelCase. "continuation" is put behind the prompt.
Rows out, as they end: {"id": "b", "index": 0, "text": "42", "tokens": [36, 34, 2], "finishReason": "stop"}
finishReason is stop, length or error (with "error"); a row that fails leaves the others alone.

Examples:
  $ compress-distill generate --model smollm2-135m-instruct --prompts in.jsonl --out out.jsonl --max-tokens 64
  $ compress-distill generate --model ./my-model --prompts in.jsonl --out out.jsonl --temperature 0 --max-tokens 20 --ignore-eos
  $ compress-distill generate --model smollm2-135m-instruct --prompts in.jsonl --out out.jsonl --n 4 --top-p 0.95 --seed 1
  $ compress-distill generate --model ./my-model --device cuda --mesh dp=8 --prompts in.jsonl --out out.jsonl
  $ compress-distill launch --processes 2 -- generate --model ./my-model --mesh dp=4 --prompts in.jsonl --out out.jsonl`;

interface Options extends GlobalOptions {
  model: string;
  prompts: string;
  out: string;
}

export function addGenerate(program: Command): void {
  const command = program
    .command('generate')
    .summary('complete prompts of a JSONL file')
    .description('Completes every prompt of a JSONL file with a model, all prompts as one batch.')
    .addHelpText('after', examples)
    .action((_, self: Command) => generate(self.optsWithGlobals(), self));
  addRequiredOption(
    command,
    '--model <model>',
    'a directory, a .gguf file, or a name of `compress-distill models list`',
  );
  addRequiredOption(
    command,
    '--prompts <file>',
    'JSONL: rows of {"id", "prompt"}, {"id", "messages"} or {"id", "tokens"}',
  );
  addRequiredOption(command, '--out <file>', 'JSONL to write; appears when every row is there');
  addSamplingOptions(command);
  addEngineOptions(command);
  addMeshOption(command);
}

async function generate(options: Options, command: Command): Promise<void> {
  const { samplingParams } = await import('../engine/sampling_params.js');
  const sampling = pickSampling({ ...options });
  const engineOptions = pickEngineOptions({ ...options });
  await namingFlags(command, () => samplingParams(sampling)); // a mistake in an option is not one of line 1
  await leading(options, 'The same command goes on from the rows that are finished.', async (signal, leader) => {
    const prompts = await checkPrompts(options.prompts, sampling);
    checkOutput(options.out);
    await namingFlags(command, () =>
      withEngine(options.model, options, { engine: engineOptions, leader }, async ({ engine, dependencies }) => {
        console.error(engine.startupReport());
        const data = await hashFile(options.prompts);
        const stored = engineOptions.kvCacheDtype === 'fp8' ? ['keys and values in fp8'] : [];
        const key = [data, sampling, ...dependencies, engineOptions.maxModelLen, ...stored];
        const output = await RowOutput.open(options.out, key, prompts.samplesOf);
        await writeCompletions(engine, { path: options.prompts, prompts, sampling, output, signal });
      }),
    );
  });
}

export interface Work {
  /** The file of prompts, and what was found in it. */
  path: string;
  prompts: PromptFile;
  sampling: Partial<SamplingParams>;
  output: RowOutput;
  signal: AbortSignal;
  progress?: Progress;
}

/** A row that the engine has: its id as written, and the samples still to come. */
interface Taken {
  id: string | number;
  left: number;
}

/** Completes what is not finished yet, one row in memory for each that the engine works on. */
export async function writeCompletions(
  engine: Pick<RequestServer<unknown>, 'generate' | 'statistics'>,
  work: Work,
): Promise<void> {
  const { prompts, output, signal, progress = createProgress() } = work;
  const total = prompts.samples;
  const taken = new Map<string, Taken>();
  const { formatStatistics } = await import('../engine/statistics.js');
  const meter = progress.start('generate', total, output.rows, 'rows', () => formatStatistics(engine.statistics()));
  const begin = performance.now();
  let tokens = 0;
  let failed = 0;
  let firstFailure: { id: string | number; error: string } | null = null;
  for await (const completion of engine.generate(requests(work, taken), { signal })) {
    if (completion.finishReason === 'aborted') continue;
    const row = taken.get(completion.id)!;
    if (--row.left === 0) taken.delete(completion.id);
    const { id } = row;
    if (completion.finishReason === 'error') {
      failed += 1;
      firstFailure ??= { id, error: completion.error ?? 'unknown reason' };
    }
    output.append(toRow(completion, id));
    tokens += completion.tokens.length;
    meter.advance(1, completion.tokens.length);
  }
  meter.finish();
  conclude(output, { total, tokens, seconds: (performance.now() - begin) / 1000, failed, firstFailure });
}

async function* requests(
  { path, prompts, sampling, output }: Work,
  taken: Map<string, Taken>,
): AsyncGenerator<GenerateRequest> {
  for await (const { id: written, sampling: own, ...row } of readPrompts(path)) {
    const id = String(written);
    if (output.isFinished(id)) continue;
    taken.set(id, { id: written, left: prompts.samplesOf(id) });
    yield { id, ...row, sampling: { ...sampling, ...own } };
  }
}

function toRow(
  { index, text, tokens, finishReason, error, logprobs, promptLogprobs }: Completion,
  id: string | number,
) {
  return {
    id,
    index,
    text,
    tokens,
    finishReason,
    ...(error === undefined ? {} : { error }),
    ...(logprobs === undefined ? {} : { logprobs }),
    ...(promptLogprobs === undefined ? {} : { promptLogprobs }),
  };
}

import { availableParallelism } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import type { LeadingProcess } from '../distributed/run_threads.js';
import type { ScoreLimits } from '../distributed/score_worker.js';
import { UserError } from '../errors.js';
import { createProgress } from '../pipeline/progress.js';
import { defaultDtype } from '../tensor/dtype.js';
import type { Message } from '../text/chat_template.js';
import { PromptEncoder } from '../text/prompt_encoder.js';
import type { ModelFiles } from '../weights/model_files.js';
import { conclude } from './conclude.js';
import { defaultDevice, withModel } from './load.js';
import { addMeshOption, addRequiredOption, type GlobalOptions, integer } from './options.js';
import { leading } from './processes.js';
import { checkPrompts, hashFile, type PromptRow, readPrompts } from './prompts.js';
import { checkOutput, RowOutput } from './row_output.js';

const examples = `
Rows in, one a line: {"id": "a", "prompt": "The capital of France is Paris"}, {"id", "messages"} or {"id", "tokens"}
Rows out, in order:  {"id": "a", "tokens": [504, 3575, …], "logprobs": [null, -3.2, …]}
The first token has nothing before it, so its log-probability is null.

Examples:
  $ compress-distill score --model smollm2-135m-instruct --input in.jsonl --out scores.jsonl
  $ compress-distill score --model ./my-model --input tokens.jsonl --out scores.jsonl --dtype f32
  $ compress-distill score --model ./my-model --device cuda --mesh dp=8 --input in.jsonl --out scores.jsonl`;

interface Options extends GlobalOptions {
  model: string;
  input: string;
  out: string;
  batchTokens: number;
}

interface Failure {
  id: string | number;
  error: string;
}
interface TokenRow {
  id: string | number;
  tokens: number[];
}
type Row = TokenRow | Failure;

export function addScore(program: Command): void {
  const command = program
    .command('score')
    .summary('log-probability of every token of a JSONL file')
    .description('Gives the log-probability of every token given those before it.')
    .option(
      '--batch-tokens <count>',
      'tokens that share a forward pass; changes speed and memory alone',
      integer(1),
      2048,
    )
    .addHelpText('after', examples)
    .action((_, self: Command) => score(self.optsWithGlobals()));
  addRequiredOption(
    command,
    '--model <model>',
    'a directory, a .gguf file, or a name of `compress-distill models list`',
  );
  addRequiredOption(
    command,
    '--input <file>',
    'JSONL: rows of {"id", "tokens"}, {"id", "prompt"} or {"id", "messages"}',
  );
  addRequiredOption(command, '--out <file>', 'JSONL to write; appears when every row is there');
  addMeshOption(command);
}

async function score(options: Options): Promise<void> {
  const { mesh = { dp: 1, tp: 1 } } = options;
  if (mesh.tp > 1)
    throw new UserError(
      `Expected '--mesh' of 'score' to have whole models, tp=1, but received tp=${mesh.tp}; give 'dp' alone`,
    );
  await leading(options, 'The same command goes on from the rows that are finished.', async (signal, leader) => {
    const { rows: total } = await checkPrompts(options.input);
    checkOutput(options.out);
    await withScoring(options, mesh.dp, leader, (scoring) => scoreRows(scoring, options, total, signal));
  });
}

/** What scores documents: one model here, or several. */
interface Scoring {
  readonly files: ModelFiles;
  /** Beside the model, what the figures depend on. */
  readonly numerics: readonly [device: string, dtype: string];
  readonly limits: ScoreLimits;
  /** Batches that are given out at once. */
  readonly width: number;
  score(documents: readonly (readonly number[])[]): Promise<(number | null)[][]>;
}

async function withScoring(
  options: Options,
  devices: number,
  leader: LeadingProcess | null,
  work: (scoring: Scoring) => Promise<void>,
): Promise<void> {
  const { model, device = defaultDevice, dtype, threads = availableParallelism() } = options;
  if (devices === 1)
    return withModel(model, options, async ({ model, files }) => {
      const { scoreDocuments } = await import('../engine/score_documents.js');
      const score = (documents: readonly (readonly number[])[]) => scoreDocuments(model, documents);
      const { maxPositionEmbeddings: context, vocabSize } = model.config;
      await work({
        files,
        numerics: [model.device.name, model.dtype],
        limits: { context, vocabSize },
        width: 1,
        score,
      });
    });
  const { resolveModel } = await import('../weights/model_files.js');
  const { Scorers } = await import('../distributed/scorers.js');
  const files = await resolveModel(model);
  files.weights.close();
  const scorers = await Scorers.create(devices, { model, device, dtype, threads }, files.fingerprint, leader);
  try {
    const score = (documents: readonly (readonly number[])[]) => scorers.score(documents);
    const { limits, width } = scorers;
    await work({ files, numerics: [device, dtype ?? defaultDtype(device)], limits, width, score });
  } finally {
    await scorers.close();
  }
}

/** A batch that is being scored. */
interface Scored {
  readonly batch: readonly Row[];
  readonly scores: Promise<(number | null)[][]>;
}

async function scoreRows(scoring: Scoring, options: Options, total: number, signal: AbortSignal): Promise<void> {
  const { files } = scoring;
  const output = await RowOutput.open(options.out, [
    await hashFile(options.input),
    files.fingerprint,
    ...scoring.numerics,
  ]);
  const meter = createProgress().start('score', total, output.rows, 'rows');
  const begin = performance.now();
  let tokens = 0;
  let failed = 0;
  let firstFailure: Failure | null = null;
  const encoder = new PromptEncoder(files, files);
  const under: Scored[] = [];
  const write = async ({ batch, scores: promised }: Scored): Promise<void> => {
    const scores = await promised;
    for (const row of batch) {
      const scored = 'error' in row ? row : withLogprobs(row, scores.shift()!);
      if ('error' in scored) {
        failed += 1;
        firstFailure ??= scored;
      } else tokens += scored.tokens.length;
      output.append(scored);
      meter.advance(1, 'error' in scored ? 0 : scored.tokens.length);
    }
  };
  try {
    for await (const batch of batches(scoring.limits, encoder, options, output)) {
      if (signal.aborted) break;
      const documents = batch.flatMap((row) => ('tokens' in row ? [row.tokens] : []));
      const scores = documents.length > 0 ? scoring.score(documents) : Promise.resolve([]);
      scores.catch(() => {}); // it is told when its turn comes
      under.push({ batch, scores });
      if (under.length >= scoring.width) await write(under.shift()!);
    }
    while (under.length > 0 && !signal.aborted) await write(under.shift()!);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await encoder.close();
  }
  meter.finish();
  conclude(output, { total, tokens, seconds: (performance.now() - begin) / 1000, failed, firstFailure });
}

/** JSON has no NaN: such a row fails. */
function withLogprobs(
  row: TokenRow,
  logprobs: (number | null)[],
): (TokenRow & { logprobs: (number | null)[] }) | Failure {
  const position = logprobs.findIndex((value) => Number.isNaN(value));
  if (position < 0) return { ...row, logprobs };
  return {
    id: row.id,
    error: `The log-probability at position ${position} is not a number; check the model's weights`,
  };
}

/** Rows in order, as many as fit into `batchTokens` and at least one; rows of a stopped run are passed over. */
async function* batches(
  limits: ScoreLimits,
  encoder: PromptEncoder,
  options: Options,
  output: RowOutput,
): AsyncGenerator<Row[]> {
  let batch: Row[] = [];
  let size = 0;
  for await (const row of readPrompts(options.input)) {
    if (output.isFinished(String(row.id))) continue;
    const next = await encodeRow(row, limits, encoder);
    await nextTurn(); // a batch holds many short rows
    const length = 'tokens' in next ? next.tokens.length : 0;
    if (batch.length > 0 && size + length > options.batchTokens) {
      yield batch;
      batch = [];
      size = 0;
    }
    batch.push(next);
    size += length;
  }
  if (batch.length > 0) yield batch;
}

/** The row's tokens, or why it cannot be scored. */
async function encodeRow(
  { id, prompt }: PromptRow,
  { context, vocabSize }: ScoreLimits,
  encoder: PromptEncoder,
): Promise<Row> {
  try {
    const tokens = await encodePrompt(prompt, encoder);
    if (tokens.length === 0) return { id, error: 'Expected at least one token; remove the row' };
    if (tokens.length > context)
      return {
        id,
        error: `Expected at most ${context} tokens (the model's context) but received ${tokens.length}; shorten the row`,
      };
    const outside = tokens.find((token) => token >= vocabSize);
    if (outside !== undefined)
      return {
        id,
        error: `Expected token ids below ${vocabSize} (the vocabulary) but received ${outside}; use the model's own tokenizer`,
      };
    return { id, tokens };
  } catch (error) {
    return { id, error: (error as Error).message };
  }
}

function encodePrompt(prompt: PromptRow['prompt'], encoder: PromptEncoder): number[] | Promise<number[]> {
  if (typeof prompt === 'string') return encoder.encode({ text: prompt, addSpecialTokens: true });
  if (typeof prompt[0] === 'number') return prompt as number[];
  return encoder.encode({ messages: prompt as Message[], addGenerationPrompt: false });
}

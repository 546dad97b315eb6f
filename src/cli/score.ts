import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Command } from 'commander';
import type { LoadedModel } from '../nn/load.js';
import type { ModelConfig } from '../nn/model.js';
import { createProgress } from '../pipeline/progress.js';
import type { Message } from '../text/chat_template.js';
import { PromptEncoder } from '../text/prompt_encoder.js';
import { conclude } from './conclude.js';
import { interruptible } from './interrupt.js';
import { withModel } from './load.js';
import { addRequiredOption, type GlobalOptions, integer } from './options.js';
import { checkPrompts, hashFile, type PromptRow, readPrompts } from './prompts.js';
import { checkOutput, RowOutput } from './row_output.js';

const examples = `
Rows in, one a line: {"id": "a", "prompt": "The capital of France is Paris"}, {"id", "messages"} or {"id", "tokens"}
Rows out, in order:  {"id": "a", "tokens": [504, 3575, …], "logprobs": [null, -3.2, …]}
The first token has nothing before it, so its log-probability is null.

Examples:
  $ compress-distill score --model smollm2-135m-instruct --input in.jsonl --out scores.jsonl
  $ compress-distill score --model ./my-model --input tokens.jsonl --out scores.jsonl --dtype f32`;

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
}

async function score(options: Options): Promise<void> {
  const { rows: total } = await checkPrompts(options.input);
  checkOutput(options.out);
  await interruptible('The same command goes on from the rows that are finished.', (signal) =>
    withModel(options.model, options, (loaded) => scoreRows(loaded, options, total, signal)),
  );
}

async function scoreRows(loaded: LoadedModel, options: Options, total: number, signal: AbortSignal): Promise<void> {
  const { scoreDocuments } = await import('../engine/score_documents.js');
  const { device, dtype } = loaded.model;
  const key = [await hashFile(options.input), loaded.files.fingerprint, device.name, dtype];
  const output = await RowOutput.open(options.out, key);
  const meter = createProgress().start('score', total, output.rows, 'rows');
  const begin = performance.now();
  let tokens = 0;
  let failed = 0;
  let firstFailure: Failure | null = null;
  const encoder = new PromptEncoder(loaded, loaded.files);
  try {
    for await (const batch of batches(loaded, encoder, options, output)) {
      if (signal.aborted) break;
      const documents = batch.flatMap((row) => ('tokens' in row ? [row.tokens] : []));
      const scores = documents.length > 0 ? await scoreDocuments(loaded.model, documents) : [];
      for (const row of batch) {
        const scored = 'error' in row ? row : withLogprobs(row, scores.shift()!);
        if ('error' in scored) {
          failed += 1;
          firstFailure ??= scored;
        } else tokens += scored.tokens.length;
        output.append(scored);
        meter.advance(1, 'error' in scored ? 0 : scored.tokens.length);
      }
    }
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
  loaded: LoadedModel,
  encoder: PromptEncoder,
  options: Options,
  output: RowOutput,
): AsyncGenerator<Row[]> {
  let batch: Row[] = [];
  let size = 0;
  for await (const row of readPrompts(options.input)) {
    if (output.isFinished(String(row.id))) continue;
    const next = await encodeRow(row, loaded.model.config, encoder);
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
async function encodeRow({ id, prompt }: PromptRow, config: ModelConfig, encoder: PromptEncoder): Promise<Row> {
  try {
    const tokens = await encodePrompt(prompt, encoder);
    const { maxPositionEmbeddings: context, vocabSize } = config;
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

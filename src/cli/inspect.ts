import type { Command } from 'commander';
import pc from 'picocolors';
import { readYaml } from '../data/yaml_file.js';
import { UserError } from '../errors.js';
import type { Tokenizer } from '../text/tokenizer.js';
import type { DataFormat } from '../training/data_format.js';
import type { GlobalOptions } from './options.js';
import { parseTrainingFile } from './training_file.js';

const examples = `
Rows are those of training: {"id": "a", "messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
Trained tokens are green on a terminal; elsewhere, and with --table, every token has a line with its label.

Examples:
  $ compress-distill inspect my-student.yaml               a row as this training run sees it
  $ compress-distill inspect --model smollm2-135m-instruct --data conversations.jsonl
  $ compress-distill inspect my-student.yaml --row 12 --table`;

interface Options extends GlobalOptions {
  model?: string;
  data?: string;
  chatTemplate?: string;
  row?: string;
  table?: boolean;
}

export function addInspect(program: Command): void {
  program
    .command('inspect')
    .summary('show which tokens of a conversation are trained')
    .description(
      'Shows every token of a training row with its label, as the chat template renders it and the trainer sees it.',
    )
    .argument('[file]', 'YAML of a training run, which names model, data and template')
    .option('--model <model>', 'whose tokenizer and chat template to use (required without a file)')
    .option('--data <file>', 'JSONL of conversations (required without a file)')
    .option('--chat-template <file>', "a file of Jinja, or Jinja, in place of the model's template")
    .option('--row <id>', 'the id of the row, or the number of its line (default: the first)')
    .option('--table', 'one token a line: position, id, label, text')
    .addHelpText('after', examples)
    .action((file: string | undefined, _, self: Command) => inspect(file, self.optsWithGlobals(), self));
}

/** What is to be shown: options go before the file's settings. */
async function readSubject(file: string | undefined, options: Options, command: Command) {
  const config = file === undefined ? null : await parseTrainingFile((await readYaml(file)).value, file, options);
  const { chatTemplate = config?.chatTemplate } = options;
  const model = options.model ?? config?.model ?? missing('--model <model>');
  const data = options.data === undefined ? config?.data : [options.data];
  const { plainFormat } = await import('../training/data_format.js');
  return {
    ...{ model, data: data ?? missing('--data <file>') },
    text: { chatTemplate, addedTokens: config?.addedTokens },
    format: config?.dataFormat ?? plainFormat,
    sequenceLength: config?.sequenceLength ?? null,
  };
  function missing(option: string): never {
    command.error(`error: required option '${option}' not specified, nor a training file`);
  }
}

async function inspect(file: string | undefined, options: Options, command: Command): Promise<void> {
  const { model, data, text, format, sequenceLength } = await readSubject(file, options, command);
  const { resolveModel } = await import('../weights/model_files.js');
  const { encodeConversation } = await import('../text/chat_targets.js');
  const { id, messages, where } = await findRow(data, options.row, format);
  const { tokenizer, chatTemplate, name, weights } = await resolveModel(model, text);
  weights.close();
  if (!tokenizer) throw new UserError(`${model}: the model has no tokenizer; add tokenizer.json to its directory`);
  if (!chatTemplate)
    throw new UserError(
      `${model}: the model has no chat template; name one with --chat-template, or add chat_template.jinja to its directory`,
    );
  const { tokens, labels } = encode(where, () => encodeConversation(messages, chatTemplate, tokenizer));

  const trained = labels.filter((label) => label >= 0).length;
  console.log(`row '${id}' (${where}) as ${name} sees it`);
  if (options.table || !pc.isColorSupported) printTable(tokens, labels, tokenizer);
  else printColoured(tokens, labels, tokenizer);
  console.log(
    `${tokens.length} tokens: ${pc.green(`${trained} trained`)}, ${pc.dim(`${tokens.length - trained} not`)}`,
  );
  if (sequenceLength !== null && tokens.length > sequenceLength)
    console.log(pc.yellow(`over-long: 'sequenceLength' is ${sequenceLength}`));
}

function encode<T>(where: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new UserError(`${where}: ${(error as Error).message}`, { cause: error });
  }
}

async function findRow(files: readonly string[], wanted: string | undefined, format: DataFormat) {
  const { readJsonl } = await import('../data/jsonl.js');
  const { conversationReader } = await import('../training/data_format.js');
  const read = conversationReader(format);
  for (const file of files) {
    for await (const { line, value } of readJsonl(file, read)) {
      const id = value.id ?? String(line);
      if (wanted === undefined || wanted === id) return { id, messages: value.messages, where: `${file}:${line}` };
    }
  }
  const data = files.join(', ');
  throw new UserError(
    wanted === undefined
      ? `${data}: Expected at least one row but the file is empty`
      : `${data}: Expected a row with id '${wanted}' but there is none; leave --row out to see the first`,
  );
}

/** What a token looks like: its own text, a line feed as ⏎, and bytes that are no text of their own as the vocabulary writes them. */
function show(token: number, tokenizer: Tokenizer): string {
  const text = tokenizer.decode([token], { skipSpecialTokens: false });
  return text.includes('\uFFFD') || text === '' ? (tokenizer.idToToken(token) ?? `<${token}>`) : text;
}

/** Tokens alternate between plain and underlined, so that their borders show. */
function printColoured(tokens: readonly number[], labels: readonly number[], tokenizer: Tokenizer): void {
  const parts = tokens.map((token, index) => {
    const text = show(token, tokenizer).replaceAll('\n', '⏎\n');
    const colour = labels[index]! >= 0 ? pc.green : pc.dim;
    return colour(index % 2 === 0 ? text : pc.underline(text));
  });
  console.log(parts.join(''));
}

function printTable(tokens: readonly number[], labels: readonly number[], tokenizer: Tokenizer): void {
  console.log('position      id  label      text');
  for (const [index, token] of tokens.entries()) {
    const label = labels[index]! >= 0 ? pc.green('trained  ') : pc.dim('untrained');
    console.log(
      `${String(index).padStart(8)}${String(token).padStart(8)}  ${label}  ${JSON.stringify(show(token, tokenizer))}`,
    );
  }
}

import type { Command } from 'commander';
import pc from 'picocolors';
import { UserError } from '../errors.js';
import type { Message } from '../text/chat_template.js';
import type { Tokenizer } from '../text/tokenizer.js';
import { addRequiredOption } from './options.js';

const examples = `
Rows are those of training: {"id": "a", "messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
Trained tokens are green on a terminal; elsewhere, and with --table, every token has a line with its label.

Examples:
  $ compress-distill inspect --model smollm2-135m-instruct --data conversations.jsonl
  $ compress-distill inspect --model smollm2-135m-instruct --data conversations.jsonl --row 12 --table`;

interface Options {
  model: string;
  data: string;
  row?: string;
  table?: boolean;
}

export function addInspect(program: Command): void {
  const command = program
    .command('inspect')
    .summary('show which tokens of a conversation are trained')
    .description(
      'Shows every token of a training row with its label, as the chat template renders it and the trainer sees it.',
    )
    .option('--row <id>', 'the id of the row (default: the first)')
    .option('--table', 'one token a line: position, id, label, text')
    .addHelpText('after', examples)
    .action((_, self: Command) => inspect(self.opts()));
  addRequiredOption(command, '--model <model>', 'whose tokenizer and chat template to use');
  addRequiredOption(command, '--data <file>', 'JSONL of conversations');
}

async function inspect({ model, data, row, table }: Options): Promise<void> {
  const { id, messages, where } = await findRow(data, row);
  const { resolveModel } = await import('../weights/model_files.js');
  const { encodeConversation } = await import('../text/chat_targets.js');
  const { tokenizer, chatTemplate, name, weights } = await resolveModel(model);
  weights.close();
  if (!tokenizer) throw new UserError(`${model}: the model has no tokenizer; add tokenizer.json to its directory`);
  if (!chatTemplate)
    throw new UserError(`${model}: the model has no chat template; add chat_template.jinja to its directory`);
  const { tokens, labels } = encode(where, () => encodeConversation(messages, chatTemplate, tokenizer));

  const trained = labels.filter((label) => label >= 0).length;
  console.log(`row '${id}' of ${data} as ${name} sees it`);
  if (table || !pc.isColorSupported) printTable(tokens, labels, tokenizer);
  else printColoured(tokens, labels, tokenizer);
  console.log(
    `${tokens.length} tokens: ${pc.green(`${trained} trained`)}, ${pc.dim(`${tokens.length - trained} not`)}`,
  );
}

function encode<T>(where: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new UserError(`${where}: ${(error as Error).message}`, { cause: error });
  }
}

async function findRow(
  data: string,
  wanted: string | undefined,
): Promise<{ id: string; messages: Message[]; where: string }> {
  const { readJsonl } = await import('../data/jsonl.js');
  const { conversationRow } = await import('../training/tokenise.js');
  for await (const { line, value } of readJsonl(data, (row) => conversationRow.parse(row))) {
    const id = String(value.id ?? line);
    if (wanted === undefined || wanted === id)
      return { id, messages: value.messages as Message[], where: `${data}:${line}` };
  }
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

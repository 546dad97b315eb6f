/** What of a conversation is trained: the assistant's turns with their ends, and nothing else. */
import { UserError } from '../errors.js';
import type { ChatTemplate, Message, RenderOptions } from './chat_template.js';
import { splitReasoning, thinkTags } from './reasoning.js';
import type { Tokenizer } from './tokenizer.js';

/** The label of a token that is not trained. */
export const ignoredLabel = -1;

export interface EncodedConversation {
  tokens: number[];
  /** labels[t] is tokens[t] where the token is a target, else −1. Not shifted. */
  labels: number[];
  /** The tokens that end an assistant's turn, from behind its content on; generation may stop at the last of them. */
  endOfTurn: number[];
}

/**
 * Tokens and labels of a conversation, up to its last assistant turn.
 *
 * The template renders the messages before each assistant turn with the generation prompt, and again with the turn; what
 * the second has more is the target. Both parts are tokenised apart, as in generation, where the prompt is tokenised
 * before the answer exists. Text that the template puts behind the end-of-turn token (a line break) is not trained: the
 * model is never asked for it.
 *
 * @param options variables for the template
 * @throws UserError when nothing is trained, when the template drops a turn's reasoning or content, when it renders
 *   earlier turns differently once later ones follow, or when it does not end the assistant's turn
 */
export function encodeConversation(
  messages: readonly Message[],
  template: ChatTemplate,
  tokenizer: Tokenizer,
  options: Omit<RenderOptions, 'addGenerationPrompt'> = {},
): EncodedConversation {
  const tokens: number[] = [];
  const labels: number[] = [];
  let endOfTurn: number[] = [];
  let rendered = '';
  for (const [index, message] of messages.entries()) {
    if (message.role !== 'assistant') continue;
    const prompt = template.render(messages.slice(0, index), { ...options, addGenerationPrompt: true });
    const whole = template.render(messages.slice(0, index + 1), options);
    expectPrefix(prompt, rendered, index, 'the turns before it');
    expectPrefix(whole, prompt, index, 'its generation prompt');
    const target = whole.slice(prompt.length);
    const known = ends.get(template);
    const usual = known !== undefined && target.endsWith(answerOf(message) + known);
    const end = usual ? known : endOfTurnText(messages.slice(0, index + 1), template, options);
    ends.set(template, end);
    expectContent(message, target, end, index);

    for (const token of encode(prompt.slice(rendered.length))) push(token, ignoredLabel);
    const targets = encode(target);
    const trained = trainedLength(targets, tokenizer);
    for (const [position, token] of targets.entries()) push(token, position < trained ? token : ignoredLabel);
    endOfTurn = encode(end);
    endOfTurn = endOfTurn.slice(0, trainedLength(endOfTurn, tokenizer));
    rendered = whole;
  }
  if (labels.length === 0)
    throw new UserError(`Expected the messages to hold an assistant turn to train but received none`);
  return { tokens, labels, endOfTurn };

  function encode(text: string): number[] {
    return tokenizer.encode(text, { addSpecialTokens: false });
  }
  function push(token: number, label: number): void {
    tokens.push(token);
    labels.push(label);
  }
}

/** What each template wrote behind a turn's content last. */
const ends = new WeakMap<ChatTemplate, string>();

/** What of the content is not reasoning. */
function answerOf({ content }: Message): string {
  return content.includes(thinkTags.close) ? (splitReasoning(content).answer ?? '') : content.trim();
}

/** The length up to and with the last control token, if only white space follows it; else all. */
function trainedLength(tokens: readonly number[], tokenizer: Tokenizer): number {
  const last = tokens.findLastIndex((token) => tokenizer.isSpecial(token) || tokenizer.eosTokenIds.includes(token));
  return last >= 0 && tokenizer.decode(tokens.slice(last + 1)).trim() === '' ? last + 1 : tokens.length;
}

function expectPrefix(text: string, prefix: string, index: number, what: string): void {
  if (text.startsWith(prefix)) return;
  let same = 0;
  while (text[same] === prefix[same]) same++;
  const shown = JSON.stringify(prefix.slice(same, same + 40));
  throw new UserError(
    `Expected the chat template to render message ${index} behind ${what} but it changes ${shown} there; ` +
      `train each reply as a conversation of its own, or name a template that leaves earlier turns alone`,
  );
}

/** What the template writes behind the content of the last message, an assistant turn. */
function endOfTurnText(messages: readonly Message[], template: ChatTemplate, options: RenderOptions): string {
  const marker = 'MARKER-0f2c';
  const turn = { ...messages.at(-1)!, content: marker };
  const whole = template.render([...messages.slice(0, -1), turn], options);
  const end = whole.slice(whole.lastIndexOf(marker) + marker.length);
  if (end.trim() !== '' && whole.includes(marker)) return end;
  throw new UserError(
    "Expected the chat template to end the assistant's turn but nothing follows its content, so that the model would not learn to stop; name a template that ends turns",
  );
}

function expectContent(message: Message, target: string, end: string, index: number): void {
  const inline = message.content.includes(thinkTags.close)
    ? splitReasoning(message.content)
    : { reasoning: null, answer: message.content.trim() };
  let from = 0;
  for (const reasoning of [message.reasoning_content?.trim(), inline.reasoning]) {
    if (!reasoning) continue;
    const start = target.indexOf(reasoning, from);
    if (start < 0) {
      const remedy =
        message.reasoning_content === undefined
          ? `give it as 'reasoning_content' if the template knows that key, or name a template that keeps it`
          : `put it into 'content' as ${thinkTags.open}…${thinkTags.close}, or name a template that renders 'reasoning_content'`;
      throw new UserError(
        `Expected the chat template to render the reasoning of message ${index} but it drops it; ${remedy}`,
      );
    }
    from = start + reasoning.length;
  }
  if (!target.endsWith(end) || !target.slice(from, target.length - end.length).includes(inline.answer ?? ''))
    throw new UserError(
      `Expected the chat template to render the content of message ${index} as it is but it changes it; name another template`,
    );
}

/** From prompts to tokens without holding up the event loop. */
import { UserError } from '../errors.js';
import type { ChatTemplate, Message } from './chat_template.js';
import type { TextOptions } from './text_options.js';
import type { Tokenizer } from './tokenizer.js';
import { TokenizerThread } from './tokenizer_thread.js';

/** A text, or a conversation for the model's chat template, which names the special tokens itself. */
export type Prompt =
  | { readonly text: string; readonly addSpecialTokens: boolean }
  | { readonly messages: readonly Message[]; readonly addGenerationPrompt: boolean };

/** What a prompt needs of a model. */
export interface PromptText {
  readonly tokenizer: Tokenizer | null;
  readonly chatTemplate: ChatTemplate | null;
}

/** The model that tokenizer and template come from, where a thread can open them again. */
export interface PromptFiles {
  readonly path?: string;
  readonly textOptions?: TextOptions;
  readonly chatTemplate?: ChatTemplate | null;
}

/** Characters from which on a prompt goes to a thread of its own; fewer take some 2 ms. */
const LONG_PROMPT = 4000;
/** Characters whose tokenising takes as long as the rendering of a message. */
const CHARACTERS_PER_MESSAGE = 100;

/** Tokens of prompts: short ones at once, long ones in a thread, which starts with the first of them. */
export class PromptEncoder {
  readonly #text: PromptText;
  readonly #thread: TokenizerThread | null;

  /** @param files null: everything is done at once. */
  constructor({ tokenizer, chatTemplate }: PromptText, files: PromptFiles | null = null) {
    this.#text = { tokenizer, chatTemplate };
    const path = files?.chatTemplate === chatTemplate ? files?.path : undefined; // else the thread would know another template
    this.#thread = path === undefined ? null : new TokenizerThread(path, files?.textOptions);
  }

  /** @throws UserError when the model lacks tokenizer or template, or the template refuses the messages */
  encode(prompt: Prompt): number[] | Promise<number[]> {
    if (this.#thread !== null && this.#text.tokenizer !== null && weight(prompt) > LONG_PROMPT)
      return this.#thread.encode(prompt);
    return encodePrompt(prompt, this.#text);
  }

  async close(): Promise<void> {
    await this.#thread?.close();
  }
}

/** The tokens of a prompt. @throws UserError as {@link PromptEncoder.encode} does */
export function encodePrompt(prompt: Prompt, { tokenizer, chatTemplate }: PromptText): number[] {
  if ('messages' in prompt && chatTemplate === null)
    throw new UserError(
      'The model has no chat template; give prompts as text or token ids, or put chat_template.jinja beside it',
    );
  if (tokenizer === null)
    throw new UserError('The model has no tokenizer; give prompts as token ids, or put tokenizer.json beside it');
  if ('text' in prompt) return tokenizer.encode(prompt.text, { addSpecialTokens: prompt.addSpecialTokens });
  const { messages, addGenerationPrompt } = prompt;
  return tokenizer.encode(chatTemplate!.render(messages, { addGenerationPrompt }), { addSpecialTokens: false });
}

function weight(prompt: Prompt): number {
  if ('text' in prompt) return prompt.text.length;
  const ofMessage = ({ content, reasoning_content }: Message): number =>
    (content?.length ?? 0) + (reasoning_content?.length ?? 0) + CHARACTERS_PER_MESSAGE;
  return prompt.messages.reduce((sum, message) => sum + ofMessage(message), 0);
}

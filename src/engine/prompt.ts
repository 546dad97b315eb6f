import { didYouMean, UserError } from '../errors.js';
import type { ChatTemplate, Message } from '../text/chat_template.js';
import { ArgumentError } from './errors.js';
import type { SamplingParams } from './sampling_params.js';

/** One prompt to complete. */
export interface GenerateRequest {
  /** Names the result. Where no `seed` is given, the samples follow from it. */
  readonly id: string;
  /** Text, token ids, or a conversation for the model's chat template. */
  readonly prompt: string | readonly number[] | readonly Message[];
  readonly sampling?: Partial<SamplingParams>;
  /** Text put behind the prompt (and the template's generation prompt), for example `<think>\n`; not part of the completion's text. */
  readonly continuation?: string;
}

const NAMES = ['id', 'prompt', 'sampling', 'continuation'];

/** @throws ArgumentError for a request without an id or with a misspelt key. */
export function checkRequest(request: GenerateRequest): void {
  if (typeof request !== 'object' || request === null) {
    throw new ArgumentError('request', "an object with 'id' and 'prompt'", request);
  }
  if (typeof request.id !== 'string') throw new ArgumentError('id', 'a string', request.id);
  for (const name of Object.keys(request)) {
    if (!NAMES.includes(name)) {
      throw new ArgumentError(
        name,
        `one of the keys of a request (${NAMES.join(', ')})`,
        name,
        didYouMean(name, NAMES),
      );
    }
  }
}

/** Tokenises text, at once or in another thread. */
export type Encode = (text: string, options: { addSpecialTokens: boolean }) => number[] | Promise<number[]>;

/**
 * The tokens of a prompt. The continuation is tokenised by itself, as training targets are.
 *
 * @param encode null where the model has no tokenizer.
 * @throws UserError when the prompt is empty, holds ids outside the vocabulary, or needs a tokenizer or template that the model lacks.
 */
export async function encodePrompt(
  request: GenerateRequest,
  encode: Encode | null,
  chatTemplate: ChatTemplate | null,
  vocabSize: number,
): Promise<number[]> {
  let tokens = await promptTokens(request.prompt, encode, chatTemplate);
  if (request.continuation !== undefined && request.continuation !== '') {
    if (typeof request.continuation !== 'string') {
      throw new ArgumentError('continuation', 'a string', request.continuation);
    }
    tokens = tokens.concat(await needTokenizer(encode)(request.continuation, { addSpecialTokens: false }));
  }
  if (tokens.length === 0) throw new UserError("Expected 'prompt' to have at least one token but it is empty");
  for (const token of tokens) {
    if (!Number.isSafeInteger(token) || token < 0 || token >= vocabSize) {
      throw new ArgumentError('prompt', `made of token ids from 0 to ${vocabSize - 1}`, token);
    }
  }
  return tokens;
}

function promptTokens(
  prompt: GenerateRequest['prompt'],
  encode: Encode | null,
  chatTemplate: ChatTemplate | null,
): number[] | Promise<number[]> {
  if (typeof prompt === 'string') return needTokenizer(encode)(prompt, { addSpecialTokens: true });
  if (!Array.isArray(prompt)) throw new ArgumentError('prompt', 'text, token ids or messages', prompt);
  if (!isConversation(prompt)) return [...(prompt as readonly number[])];
  if (chatTemplate === null) {
    throw new UserError(
      "The model has no chat template; give 'prompt' as text or token ids, or put chat_template.jinja beside it",
    );
  }
  const text = chatTemplate.render(prompt, { addGenerationPrompt: true });
  return needTokenizer(encode)(text, { addSpecialTokens: false });
}

function isConversation(prompt: readonly unknown[]): prompt is readonly Message[] {
  return typeof prompt[0] === 'object' && prompt[0] !== null;
}

function needTokenizer(encode: Encode | null): Encode {
  if (encode === null) {
    throw new UserError("The model has no tokenizer; give 'prompt' as token ids, or put tokenizer.json beside it");
  }
  return encode;
}

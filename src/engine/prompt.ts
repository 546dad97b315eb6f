import { didYouMean, UserError } from '../errors.js';
import type { Message } from '../text/chat_template.js';
import type { PromptEncoder } from '../text/prompt_encoder.js';
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

/**
 * The tokens of a prompt. The continuation is tokenised by itself, as training targets are.
 *
 * @throws UserError when the prompt is empty, holds ids outside the vocabulary, or needs a tokenizer or template that the model lacks.
 */
export async function encodeRequest(
  { prompt, continuation = '' }: GenerateRequest,
  encoder: PromptEncoder,
  vocabSize: number,
): Promise<number[]> {
  let tokens = await promptTokens(prompt, encoder);
  if (typeof continuation !== 'string') throw new ArgumentError('continuation', 'a string', continuation);
  if (continuation !== '') {
    tokens = tokens.concat(await encoder.encode({ text: continuation, addSpecialTokens: false }));
  }
  if (tokens.length === 0) throw new UserError("Expected 'prompt' to have at least one token but it is empty");
  for (const token of tokens) {
    if (!Number.isSafeInteger(token) || token < 0 || token >= vocabSize) {
      throw new ArgumentError('prompt', `made of token ids from 0 to ${vocabSize - 1}`, token);
    }
  }
  return tokens;
}

function promptTokens(prompt: GenerateRequest['prompt'], encoder: PromptEncoder): number[] | Promise<number[]> {
  if (typeof prompt === 'string') return encoder.encode({ text: prompt, addSpecialTokens: true });
  if (!Array.isArray(prompt)) throw new ArgumentError('prompt', 'text, token ids or messages', prompt);
  if (isConversation(prompt)) return encoder.encode({ messages: prompt, addGenerationPrompt: true });
  return [...(prompt as readonly number[])];
}

function isConversation(prompt: readonly unknown[]): prompt is readonly Message[] {
  return typeof prompt[0] === 'object' && prompt[0] !== null;
}

/** A model's chat template: messages to the text that the model was taught on. */
import { UserError } from '../errors.js';
import { BoundedTemplate } from './bounded_template.js';

export interface Message {
  /** 'system', 'user', 'assistant', or another role that the template knows. */
  role: string;
  content: string;
  /** What the assistant thought before `content`, for templates that render it themselves (under this name, or as `thinking`). */
  reasoning_content?: string;
}

export interface RenderOptions {
  /** End with the beginning of the assistant's turn. Default false. */
  addGenerationPrompt?: boolean;
  /** Any other variable of the template, such as `enable_thinking`. */
  [variable: string]: unknown;
}

export interface ChatTemplate {
  readonly source: string;
  /**
   * The text of a conversation. It holds the begin-of-text token if the model wants one: encode it with
   * `addSpecialTokens: false`.
   * @throws UserError when the template refuses the messages, or takes more steps or memory than a template may
   */
  render(messages: readonly Message[], options?: RenderOptions): string;
}

export interface ChatTemplateOptions {
  bosToken?: string | null;
  eosToken?: string | null;
  /** The file that errors name. */
  file?: string;
}

/** @throws UserError when the Jinja source cannot be parsed */
export function createChatTemplate(source: string, options: ChatTemplateOptions = {}): ChatTemplate {
  const file = options.file ?? 'the chat template';
  let template: BoundedTemplate;
  try {
    template = new BoundedTemplate(source);
  } catch (error) {
    throw new UserError(
      `${file}: the chat template cannot be parsed (${firstLine(error)}); correct it or name another template`,
    );
  }
  // gpt-oss calls the reasoning 'thinking'.
  const renamed = !source.includes('reasoning_content') && /\bthinking\b/.test(source);
  return {
    source,
    render(messages, { addGenerationPrompt = false, ...variables } = {}) {
      try {
        return template.render({
          bos_token: options.bosToken ?? '',
          eos_token: options.eosToken ?? '',
          tools: null,
          documents: null,
          ...variables,
          // Templates ask whether a key is there, so one without a value must not be.
          messages: messages.map((message) =>
            Object.fromEntries(
              Object.entries(message)
                .filter(([, value]) => value !== undefined)
                .map(([key, value]) => [renamed && key === 'reasoning_content' ? 'thinking' : key, value]),
            ),
          ),
          add_generation_prompt: addGenerationPrompt,
        });
      } catch (error) {
        const roles = messages.map((message) => message.role).join(', ');
        throw new UserError(
          `${file}: the chat template refuses the roles ${roles} (${firstLine(error)}); change the messages or name another template`,
        );
      }
    },
  };
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!.slice(0, 200);
}

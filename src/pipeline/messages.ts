import { fillTemplate } from './prompt_template.js';
import type { ChatMessage } from './services.js';

type Values = Readonly<Record<string, string>>;

/**
 * A conversation up to the assistant's turn.
 * @param examples values of the template with the response they should get, as earlier turns
 */
export function chat(
  system: string | undefined,
  template: string,
  values: Values,
  examples: readonly (Values & { response: string })[] = [],
): ChatMessage[] {
  const ask = (filled: Values): ChatMessage => ({ role: 'user', content: fillTemplate(template, filled) });
  return [
    ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
    ...examples.flatMap((example) => [ask(example), { role: 'assistant' as const, content: example.response }]),
    ask(values),
  ];
}

import { fillTemplate } from './prompt_template.js';
import type { ChatMessage } from './services.js';

/** A conversation up to the assistant's turn. */
export function chat(
  system: string | undefined,
  template: string,
  values: Readonly<Record<string, string>>,
): ChatMessage[] {
  const user: ChatMessage = { role: 'user', content: fillTemplate(template, values) };
  return system === undefined ? [user] : [{ role: 'system', content: system }, user];
}

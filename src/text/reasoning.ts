/** What a model thought and what it answered, told apart at `<think>…</think>`. */

export interface ReasoningTags {
  open: string;
  close: string;
}

export const thinkTags: ReasoningTags = { open: '<think>', close: '</think>' };

export interface SplitCompletion {
  /** Trimmed; null when the text holds no reasoning. */
  reasoning: string | null;
  /** Trimmed; null when the reasoning was never closed, so that there is no answer. */
  answer: string | null;
}

/**
 * Splits a completion at the first closing tag.
 *
 * The opening tag may be missing, because it was the end of the prompt. What comes before it belongs to the reasoning.
 * @param options.opened the prompt ended inside the reasoning: without a closing tag all of the text is reasoning. Default false.
 * @param options.tags default `<think>` and `</think>`
 */
export function splitReasoning(
  text: string,
  options: { opened?: boolean; tags?: ReasoningTags } = {},
): SplitCompletion {
  const { open, close } = options.tags ?? thinkTags;
  const end = text.indexOf(close);
  const start = text.indexOf(open);
  if (end < 0 && start < 0 && !options.opened) return { reasoning: null, answer: text.trim() };
  const inside = end < 0 ? text : text.slice(0, end);
  const opening = inside.indexOf(open);
  const reasoning = opening < 0 ? inside : inside.slice(0, opening) + inside.slice(opening + open.length);
  return { reasoning: reasoning.trim(), answer: end < 0 ? null : text.slice(end + close.length).trim() };
}

/** The text of an assistant turn that holds both; `splitReasoning` gives them back. */
export function joinReasoning(reasoning: string, answer: string, tags: ReasoningTags = thinkTags): string {
  return `${tags.open}\n${reasoning}\n${tags.close}\n\n${answer}`;
}

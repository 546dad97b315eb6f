// What becomes of a key of Axolotl's YAML, and the rules that many keys share.

export type Outcome =
  /** Settings of a training file by their paths, `lora.rank`. */
  | { readonly settings: Readonly<Record<string, unknown>>; readonly remark?: string }
  | { readonly ignored: string }
  | { readonly refused: string }
  /** Of the keys inside, by their paths. */
  | { readonly parts: readonly (readonly [string, Outcome])[] };

export type Rule = (value: unknown, file: Readonly<Record<string, unknown>>) => Outcome;

export const to = (path: string, value: unknown, remark?: string): Outcome => ({
  settings: { [path]: value },
  ...(remark !== undefined && { remark }),
});
export const refuse = (refused: string): Outcome => ({ refused });

/** As it is, under another name; null is as good as absent. */
export const renamed =
  (path: string, remark?: string): Rule =>
  (value) =>
    value === null ? { ignored: 'empty' } : to(path, value, remark);

export const ignored =
  (reason: string): Rule =>
  () => ({ ignored: reason });

/** Off, or refused. */
export const offOnly =
  (reason: string): Rule =>
  (value) =>
    isOff(value) ? { ignored: 'off, as here' } : refuse(reason);

export function isOff(value: unknown): boolean {
  return (
    value === null || value === false || value === '' || value === 0 || (Array.isArray(value) && value.length === 0)
  );
}

const chatMl = `{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}`;

export function chatTemplate(value: unknown): Outcome {
  if (value === null || value === 'tokenizer_default') return { ignored: "the model's own, as here" };
  if (value === 'chatml') return to('chatTemplate', chatMl);
  if (value === 'jinja') return { ignored: "'chat_template_jinja' has it" };
  return refuse(
    `'${value}' is a template of Axolotl's own; use tokenizer_default, or jinja with 'chat_template_jinja'`,
  );
}

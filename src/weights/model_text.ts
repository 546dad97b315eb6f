/** A model's tokenizer and chat template, and what was changed about them. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ChatTemplate, createChatTemplate } from '../text/chat_template.js';
import { addTokens, readTemplate, type TextOptions } from '../text/text_options.js';
import { createTokenizer, type Tokenizer, type TokenizerConfig, type TokenizerJson } from '../text/tokenizer.js';
import { checkTokenizerJson } from '../text/tokenizer_check.js';
import { fingerprintText } from './fingerprint.js';

/** What the model's files say. */
export interface TextSource {
  /** tokenizer.json; null for a model without one. */
  readonly json: TokenizerJson | null;
  /** tokenizer_config.json. */
  readonly config: TokenizerConfig;
  readonly template: string | null;
  /** Tokens that end a generation, beside the eos_token of the configuration. */
  readonly eosTokenIds: readonly number[];
  /** The files that errors name. */
  readonly tokenizerPath: string;
  readonly templatePath: string;
}

export interface ModelText {
  /** Null when the files hold none; the model then works with token ids. */
  tokenizer: Tokenizer | null;
  chatTemplate: ChatTemplate | null;
  /** What was changed when the model was opened; the same again opens the same, a template that was read from a file included. */
  textOptions: TextOptions;
  /** Changes when the tokens of a conversation might. */
  textFingerprint(): Promise<string>;
}

/** tokenizer.json, tokenizer_config.json and chat_template.jinja as they are after the changes. */
export type WriteText = (folder: string) => Promise<void>;

/** @throws UserError when files or changes cannot be understood */
export async function describeText(
  source: TextSource,
  { chatTemplate, addedTokens = [] }: TextOptions,
): Promise<{ text: ModelText; write: WriteText }> {
  const given = chatTemplate === undefined ? null : await readTemplate(chatTemplate);
  const template = given?.source ?? source.template;
  if (source.json !== null) checkTokenizerJson(source.json, source.tokenizerPath);
  const { json, config } = source.json === null ? source : addTokens(source.json, source.config, addedTokens);
  return {
    text: {
      tokenizer:
        json && createTokenizer(json, config, { eosTokenIds: source.eosTokenIds, source: source.tokenizerPath }),
      chatTemplate: template === null ? null : jinja(template, config, given?.name ?? source.templatePath),
      textOptions: { ...(given && { chatTemplate: given.source }), ...(addedTokens.length > 0 && { addedTokens }) },
      textFingerprint: () => {
        const { model: { vocab, merges, ...model } = {}, ...rest } = json ?? {};
        return fingerprintText([rest, model, config, template], [vocab as object, merges as object]);
      },
    },
    async write(folder) {
      if (json === null) return;
      // The template has a file of its own, which readers prefer.
      const { chat_template: _, ...rest } = config;
      await writeFile(join(folder, 'tokenizer.json'), JSON.stringify(json));
      await writeFile(join(folder, 'tokenizer_config.json'), `${JSON.stringify(rest, null, 2)}\n`);
      if (template !== null) await writeFile(join(folder, 'chat_template.jinja'), template);
    },
  };
}

function jinja(source: string, { bos_token, eos_token }: TokenizerConfig, file: string): ChatTemplate {
  const text = (token: TokenizerConfig['bos_token']): string | null =>
    typeof token === 'object' ? (token?.content ?? null) : (token ?? null);
  return createChatTemplate(source, { bosToken: text(bos_token), eosToken: text(eos_token), file });
}

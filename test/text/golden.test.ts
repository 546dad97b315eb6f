// Tokenizer and chat template of a model folder against transformers'.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeConversation } from '../../src/text/chat_targets.js';
import type { ChatTemplate, Message } from '../../src/text/chat_template.js';
import type { Tokenizer } from '../../src/text/tokenizer.js';
import { type ModelFiles, resolveModel } from '../../src/weights/model_files.js';
import { goldenJson, goldenText, modelFolder } from '../support/fixtures.js';

interface GoldenTokenizer {
  texts: string[];
  ids: number[][];
  decoded: string[];
  decodedWithoutSpecial: string[];
  chats: { messages: Message[]; text: string; tokens: number[] }[];
}

const golden = goldenJson<GoldenTokenizer>('chat.tokenizer.json');

let files: ModelFiles;
let tokenizer: Tokenizer;
let template: ChatTemplate;
beforeAll(async () => {
  files = await resolveModel(modelFolder('chat'));
  tokenizer = files.tokenizer!;
  template = files.chatTemplate!;
});
afterAll(() => files.weights.close());

describe('the tokenizer of a model folder', () => {
  it.each(golden.texts.map((text, index) => [text, index] as const))('encodes and decodes %j', (text, index) => {
    const ids = golden.ids[index]!;
    expect(tokenizer.encode(text)).toEqual(ids);
    expect(tokenizer.decode(ids, { skipSpecialTokens: false })).toBe(golden.decoded[index]);
    expect(tokenizer.decode(ids)).toBe(golden.decodedWithoutSpecial[index]);
  });

  it('knows both ends of a sequence that the configs name', () => {
    expect([...tokenizer.eosTokenIds].sort()).toEqual([0, 2]);
  });
});

describe('the chat template of a model folder', () => {
  it.each(golden.chats)('renders and tokenises $messages.length messages', ({ messages, text, tokens }) => {
    expect(template.render(messages, { addGenerationPrompt: true })).toBe(text);
    expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(tokens);
  });

  it('gives the tokens and labels of training conversations', () => {
    const { documents } = goldenJson<{ documents: { tokens: number[]; labels: number[] }[] }>('chat.run.json');
    const rows = goldenText('chat.run.jsonl').trim().split('\n');
    expect(rows.length).toBe(documents.length);
    for (const [index, row] of rows.entries()) {
      const { tokens, labels } = encodeConversation(JSON.parse(row).messages, template, tokenizer);
      expect({ tokens, labels }).toEqual(documents[index]);
    }
  });
});

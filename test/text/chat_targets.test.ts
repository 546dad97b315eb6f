import { describe, expect, test } from 'vitest';
import { encodeConversation } from '../../src/text/chat_targets.js';
import { createChatTemplate, type Message } from '../../src/text/chat_template.js';
import { goldenJson } from '../support/fixtures.js';
import { byteTokenizer, chatTokenizer } from './models.js';
import { chatMl, droppingLike, endlessLike, llama3Like, plainLike, qwen3Like, thinkingOnlyLike } from './templates.js';

const special = ['<|im_start|>', '<|im_end|>', '<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>', '<|eos|>'];
const tokenizer = byteTokenizer(special, '<|im_end|>');
const user = (content: string): Message => ({ role: 'user', content });
const assistant = (content: string, reasoning_content?: string): Message =>
  reasoning_content === undefined ? { role: 'assistant', content } : { role: 'assistant', content, reasoning_content };

function encode(source: string, messages: Message[], options = {}) {
  const template = createChatTemplate(source, { bosToken: '<bos>', eosToken: '<|eos|>' });
  const { tokens, labels, endOfTurn } = encodeConversation(messages, template, tokenizer, options);
  const text = (ids: number[]): string => tokenizer.decode(ids, { skipSpecialTokens: false });
  // Trained runs in brackets make the expectation readable.
  let marked = '';
  for (const [index, label] of labels.entries()) {
    if (label !== -1) expect(label).toBe(tokens[index]);
    const [before, now] = [index > 0 && labels[index - 1] !== -1, label !== -1];
    marked += `${now && !before ? '[' : ''}${!now && before ? ']' : ''}${text([tokens[index]!])}`;
  }
  if (labels.at(-1) !== -1) marked += ']';
  return { marked, text: text(tokens), endOfTurn: text(endOfTurn) };
}

describe('encodeConversation', () => {
  test('trains an answer with its end of turn, and not the line break behind it', () => {
    const { marked, endOfTurn } = encode(chatMl, [user('6 * 7?'), assistant('42')]);
    expect(marked).toBe('<|im_start|>user\n6 * 7?<|im_end|>\n<|im_start|>assistant\n[42<|im_end|>]\n');
    expect(endOfTurn).toBe('<|im_end|>');
  });

  test('trains every assistant turn of several, and stops behind the last', () => {
    const system = { role: 'system', content: 'Be brief.' };
    const { marked } = encode(chatMl, [system, user('a'), assistant('b'), user('c'), assistant('d'), user('e')]);
    expect(marked).toBe(
      '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n[b<|im_end|>]\n' +
        '<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n[d<|im_end|>]\n',
    );
  });

  test('works with headers, trimming and a begin-of-text token', () => {
    const { marked, endOfTurn } = encode(llama3Like, [user('6 * 7?'), assistant(' 42\n')]);
    expect(marked).toBe(
      '<bos><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n6 * 7?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n[42<|eot_id|>]',
    );
    expect(endOfTurn).toBe('<|eot_id|>');
  });

  test('trains an end of turn of several tokens', () => {
    const { marked, endOfTurn } = encode(plainLike, [user('6 * 7?'), assistant('42')]);
    expect(marked).toBe('### user:\n6 * 7?\n### End\n### assistant:\n[42\n### End\n]');
    expect(endOfTurn).toBe('\n### End\n');
  });

  test.each([
    ['inside the content', assistant('<think>\n6 * 7 = 42\n</think>\n\n42')],
    ['apart from it', assistant('42', '6 * 7 = 42')],
  ])('trains reasoning %s', (_, reply) => {
    const { marked } = encode(qwen3Like, [user('6 * 7?'), reply]);
    expect(marked).toMatch(/<\|im_start\|>assistant\n\[<think>\n6 \* 7 = 42\n<\/think>\n\n42<\|im_end\|>\]\n$/);
  });

  test('an opening tag that is part of the prompt is not trained, the closing one is', () => {
    const { marked } = encode(thinkingOnlyLike, [user('6 * 7?'), assistant('42', '6 * 7 = 42')]);
    expect(marked).toMatch(/<\|im_start\|>assistant\n<think>\n\[6 \* 7 = 42\n<\/think>\n\n42<\|im_end\|>\]\n$/);
  });

  test('passes variables to the template', () => {
    const { text } = encode(llama3Like, [user('a'), assistant('b')], { date_string: '1 Jan 2026' });
    expect(text).toContain('Today Date: 1 Jan 2026');
  });

  test('an empty answer behind reasoning still ends', () => {
    const { marked } = encode(qwen3Like, [user('?'), assistant('', 'hm')]);
    expect(marked).toMatch(/\[<think>\nhm\n<\/think>\n\n<\|im_end\|>\]\n$/);
  });

  test('an answer that is a letter of the template is found behind the reasoning', () => {
    const { marked, endOfTurn } = encode(qwen3Like, [user('?'), assistant('i', 'hm')]);
    expect(marked).toMatch(/\n\ni<\|im_end\|>\]\n$/);
    expect(endOfTurn).toBe('<|im_end|>');
  });

  test('agrees with the tokens that generation would be given', () => {
    const golden = goldenJson<{ chats: { messages: Message[]; text: string; tokens: number[] }[] }>(
      'chat.tokenizer.json',
    );
    const template = createChatTemplate(chatMl);
    const chat = chatTokenizer();
    for (const { messages, tokens } of golden.chats) {
      const encoded = encodeConversation([...messages, assistant('42')], template, chat);
      expect(encoded.tokens.slice(0, tokens.length)).toEqual(tokens);
      expect(encoded.labels[tokens.length - 1]).toBe(-1);
      expect(encoded.labels[tokens.length]).not.toBe(-1);
    }
  });
});

describe('what is refused', () => {
  test('a template that drops the reasoning, in either form, with the remedy', () => {
    expect(() => encode(droppingLike, [user('?'), assistant('<think>hm</think>42')])).toThrow(
      /render the reasoning of message 1 but it drops it; give it as 'reasoning_content'.*or name a template/,
    );
    expect(() => encode(chatMl, [user('?'), assistant('42', 'hm')])).toThrow(
      /render the reasoning of message 1 but it drops it; put it into 'content' as <think>…<\/think>/,
    );
    expect(encode(droppingLike, [user('?'), assistant('42')]).marked).toBe('<|user|>?<|eos|><|assistant|>[42<|eos|>]');
    expect(encode(chatMl, [user('?'), assistant('<think>hm</think>42')]).marked).toContain('[<think>hm</think>42');
  });

  test('a template that renders earlier turns differently once later ones follow', () => {
    expect(() => encode(qwen3Like, [user('a'), assistant('b', 'hm'), user('c'), assistant('d', 'so')])).toThrow(
      /render message 3 behind the turns before it but it changes "<think>.*train each reply as a conversation of its own/,
    );
  });

  test('a generation prompt that the reply does not begin with', () => {
    const source = chatMl.replace("'<|im_start|>assistant\\n' }}{% endif", "'<|im_start|>model\\n' }}{% endif");
    expect(() => encode(source, [user('a'), assistant('b')])).toThrow(
      /render message 1 behind its generation prompt but/,
    );
  });

  test('a template that never ends a turn', () => {
    expect(() => encode(endlessLike, [user('a'), assistant('b')])).toThrow(
      /end the assistant's turn.*not learn to stop/,
    );
  });

  test('a template that changes or drops the content', () => {
    const source = chatMl.replace('message.content +', "message.content | replace('4', 'four') +");
    expect(() => encode(source, [user('a'), assistant('42')])).toThrow(/render the content of message 1 as it is/);
  });

  test('a conversation without a reply', () => {
    expect(() => encode(chatMl, [user('a')])).toThrow(/Expected the messages to hold an assistant turn/);
    expect(() => encode(chatMl, [])).toThrow(/Expected the messages to hold an assistant turn/);
  });
});

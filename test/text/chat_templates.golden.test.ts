// Tokens and labels under the chat templates of well-known models against transformers'.
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { encodeConversation } from '../../src/text/chat_targets.js';
import { createChatTemplate, type Message } from '../../src/text/chat_template.js';
import { createTokenizer, type TokenizerJson } from '../../src/text/tokenizer.js';
import { goldenJson } from '../support/fixtures.js';

interface Golden {
  bosToken: string | null;
  endOfTurn: string;
  /** What strftime_now gives. */
  date: string;
  conversations: { messages: Message[]; text: string; tokens: number[]; trained: [number, number][] }[];
  tokenizer: TokenizerJson;
}

const golden = goldenJson<Record<string, Golden>>('chat_templates.json');

function open(name: string) {
  const { bosToken, endOfTurn, date, tokenizer } = golden[name]!;
  const source = readFileSync(new URL(`../fixtures/chat_templates/${name}.jinja`, import.meta.url), 'utf8');
  const template = createChatTemplate(source, { bosToken, file: name });
  return {
    template,
    tokenizer: createTokenizer(tokenizer, { bos_token: bosToken, eos_token: endOfTurn }),
    variables: { strftime_now: () => date },
  };
}

const reasoning = { role: 'assistant', content: 'The answer is 19.', reasoning_content: '12 plus 7' };
const question = { role: 'user', content: 'How many?' };

describe.each(Object.keys(golden))('%s', (name) => {
  const { template, tokenizer, variables } = open(name);
  const { conversations, endOfTurn } = golden[name]!;

  it.each(conversations)('gives text, tokens and labels of $messages.length messages', (conversation) => {
    const { messages, text, tokens, trained } = conversation;
    expect(template.render(messages, variables)).toBe(text);
    const encoded = encodeConversation(messages, template, tokenizer, variables);
    expect(encoded.tokens).toEqual(tokens);
    const inside = (position: number) => trained.some(([begin, end]) => begin <= position && position < end);
    expect(encoded.labels).toEqual(tokens.map((token, position) => (inside(position) ? token : -1)));
    expect(encoded.endOfTurn).toEqual([tokenizer.tokenToId(endOfTurn)]);
  });
});

describe('what a template cannot train is refused', () => {
  const encode = (name: string, messages: Message[]) => {
    const { template, tokenizer, variables } = open(name);
    return () => encodeConversation(messages, template, tokenizer, variables);
  };

  it.each(['smollm2', 'llama3'])('%s: reasoning apart from the content, which it drops', (name) => {
    expect(encode(name, [question, reasoning])).toThrow(
      /reasoning of message 1 but it drops it; put it into 'content'/,
    );
  });

  it.each(['qwen3', 'harmony'])('%s: earlier turns, which it renders without their reasoning', (name) => {
    const second = { role: 'assistant', content: '1253.', reasoning_content: '19' };
    expect(encode(name, [question, reasoning, question, second])).toThrow(
      /render message 3 behind the turns before it but it changes .*train each reply as a conversation of its own/,
    );
  });
});

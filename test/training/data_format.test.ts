import { describe, expect, it } from 'vitest';
import { conversationReader, dataFormatSchema, plainFormat } from '../../src/training/data_format.js';

const shareGpt = dataFormatSchema.parse({
  ...{ messages: 'conversations', role: 'from', content: 'value', reasoning: 'thought' },
  ...{ roles: { human: 'user', gpt: 'assistant' }, splitThinking: true },
});

describe('conversationReader', () => {
  it('reads rows as they are written here, and keeps their further keys', () => {
    const read = conversationReader(plainFormat);
    const messages = [
      { role: 'user', content: '?', extra: 1 },
      { role: 'assistant', content: '<think>a</think>b', reasoning_content: 'c' },
    ];
    expect(read({ id: 7, messages, weight: 2 })).toEqual({
      id: '7',
      messages: [{ role: 'user', content: '?' }, messages[1]],
      data: { weight: 2 },
    });
    expect(read({ messages: [{ role: 'user', content: '', reasoning_content: null }] })).toEqual({
      ...{ id: null, data: {} },
      messages: [{ role: 'user', content: '' }],
    });
  });

  it('reads rows under other names, and takes reasoning out of the content', () => {
    const conversations = [
      { from: 'human', value: '<think>?</think>' },
      { from: 'gpt', value: '<think>\nhm\n</think>\n\n42' },
      { from: 'tool', value: 'x' },
      { from: 'gpt', value: '43', thought: 'so' },
      { from: 'gpt', value: 'no end: <think>' },
    ];
    expect(conversationReader(shareGpt)({ conversations }).messages).toEqual([
      { role: 'user', content: '<think>?</think>' },
      { role: 'assistant', content: '42', reasoning_content: 'hm' },
      { role: 'tool', content: 'x' },
      { role: 'assistant', content: '43', reasoning_content: 'so' },
      { role: 'assistant', content: 'no end: <think>' },
    ]);
  });

  it('names the keys of the format in what it refuses', () => {
    const read = conversationReader(shareGpt);
    expect(() => read({ messages: [] })).toThrow(/^Expected 'conversations' to be an array but received nothing$/);
    expect(() => read({ conversations: [{ from: 'gpt' }] })).toThrow(/'conversations\.0\.value' to be a string/);
  });
});

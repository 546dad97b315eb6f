import { describe, expect, test } from 'vitest';
import { createChatTemplate } from '../../src/text/chat_template.js';
import { chatMl, llama3Like, qwen3Like, thinkingOnlyLike } from './templates.js';

const question = { role: 'user', content: ' What is 6·7? ' };
const answer = { role: 'assistant', content: '42' };

describe('createChatTemplate', () => {
  test('renders ChatML', () => {
    const template = createChatTemplate(chatMl);
    expect(template.source).toBe(chatMl);
    expect(template.render([question, answer])).toBe(
      '<|im_start|>user\n What is 6·7? <|im_end|>\n<|im_start|>assistant\n42<|im_end|>\n',
    );
    expect(template.render([question], { addGenerationPrompt: true })).toBe(
      '<|im_start|>user\n What is 6·7? <|im_end|>\n<|im_start|>assistant\n',
    );
  });

  test('gives a Llama 3 template its tokens, filters, slices and variables', () => {
    const template = createChatTemplate(llama3Like, { bosToken: '<|begin_of_text|>' });
    const head = '<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: ';
    expect(template.render([{ role: 'system', content: ' Be brief. ' }, question])).toBe(
      `${head}26 Jul 2024\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nWhat is 6·7?<|eot_id|>`,
    );
    expect(template.render([question], { date_string: '1 Jan 2026' })).toContain(`${head}1 Jan 2026\n\n<|eot_id|>`);
  });

  test('gives a Qwen3 template the reasoning, and what the caller sets', () => {
    const template = createChatTemplate(qwen3Like);
    const expected = '<|im_start|>assistant\n<think>\n6·7 = 42\n</think>\n\n42<|im_end|>\n';
    expect(template.render([question, { ...answer, reasoning_content: '6·7 = 42' }])).toContain(expected);
    expect(template.render([question, { ...answer, content: '<think>\n6·7 = 42\n</think>\n\n42' }])).toContain(
      expected,
    );
    const quiet = template.render([question], { addGenerationPrompt: true, enable_thinking: false });
    expect(quiet).toMatch(/assistant\n<think>\n\n<\/think>\n\n$/);
    expect(createChatTemplate(thinkingOnlyLike).render([question], { addGenerationPrompt: true })).toMatch(
      /<\|im_start\|>assistant\n<think>\n$/,
    );
  });

  test('a key without a value is not there', () => {
    const template = createChatTemplate(`{{ 'reasoning_content' in messages[0] }}`);
    expect(template.render([{ ...answer, reasoning_content: undefined as unknown as string }])).toBe('false');
  });

  test('says what the template says when it refuses', () => {
    const template = createChatTemplate(llama3Like, { file: 'm/chat_template.jinja' });
    expect(() => template.render([question, { role: 'tool', content: '' }])).toThrow(
      /^m\/chat_template\.jinja: the chat template refuses the roles user, tool \(Unknown role: tool\); change/,
    );
  });

  test('refuses a template that is not Jinja', () => {
    expect(() => createChatTemplate('{% for x in %}', { file: 'm/chat_template.jinja' })).toThrow(
      /^m\/chat_template\.jinja: the chat template cannot be parsed \(.+\); correct it/,
    );
  });

  test('knows the date', () => {
    expect(createChatTemplate(`{{ strftime_now('%Y') }}`).render([])).toMatch(/^20\d\d$/);
  });
});

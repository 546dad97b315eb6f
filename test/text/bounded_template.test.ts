import { Template } from '@huggingface/jinja';
import { describe, expect, test } from 'vitest';
import { BoundedTemplate } from '../../src/text/bounded_template.js';
import { createChatTemplate } from '../../src/text/chat_template.js';
import { chatMl, llama3Like, qwen3Like, thinkingOnlyLike } from './templates.js';

const beyond = /too many steps or too much memory|a text of \d+ characters/;
const doublings = (body: string, setUp: string) =>
  `{% set s = namespace(x=${setUp}) %}{% for i in range(60) %}${body}{% endfor %}{{ s.x }}`;

describe('a template that would take the machine ends with an error', () => {
  test.each([
    ['a long range', '{% for i in range(10 ** 9) %}{% endfor %}{% for i in range(1000000000) %}{% endfor %}'],
    ['a long range downwards', '{{ range(0, -1000000000, -1) | length }}'],
    [
      'nested loops',
      '{% for a in range(2000) %}{% for b in range(2000) %}{% for c in range(2000) %}x{% endfor %}{% endfor %}{% endfor %}',
    ],
    ['a list that doubles', doublings('{% set s.x = s.x + s.x %}', '[1, 2]')],
    ['a text that doubles', doublings('{% set s.x = s.x ~ s.x %}', '"ab"')],
    ['a list that holds itself twice', doublings('{% set s.x = [s.x, s.x] %}', '[1]')],
    ['a mapping that holds itself twice', doublings('{% set s.x = {"a": s.x, "b": s.x} %}', '{}')],
    ['texts put into texts', doublings('{% set s.x = s.x.replace("a", s.x) %}', '"aa"')],
    ['a macro that calls itself', '{% macro f(n) %}{{ f(n) }}{{ f(n) }}{% endmacro %}{{ f(1) }}'],
    [
      'a search in a long text, often',
      `{% set t = "${'a'.repeat(100_000)}" %}{% for i in range(1000000) %}{{ "b" in t }}{% endfor %}`,
    ],
    [
      'a list that is appended to itself',
      '{% set a = [1] %}{% for i in range(50) %}{% set _ = a.append(a) %}{% endfor %}{{ a }}',
    ],
  ])('%s', (_, source) => {
    let template: BoundedTemplate;
    try {
      template = new BoundedTemplate(source);
    } catch {
      return; // Not even in the language.
    }
    expect(() => template.render({})).toThrow();
  });

  test('says why, and names the file', () => {
    const template = createChatTemplate('{% for i in range(1000000000) %}{% endfor %}', { file: 'model/x.jinja' });
    expect(() => template.render([{ role: 'user', content: 'x' }])).toThrow(/^model\/x\.jinja: .*too many steps/);
    expect(() => new BoundedTemplate(doublings('{% set s.x = s.x + s.x %}', '[1]')).render({})).toThrow(beyond);
    expect(() => new BoundedTemplate('x'.repeat(2 ** 20 + 1))).toThrow(/1048577 characters/);
    expect(() => new BoundedTemplate(`{{ ${'('.repeat(200_000)}`)).toThrow();
  });
});

test('renders as the plain interpreter does', () => {
  const conversation = [
    { role: 'system', content: 'Be brief.' },
    ...Array.from({ length: 6 }, (_, index) => ({
      role: index % 2 ? 'assistant' : 'user',
      content: `turn ${index} `.repeat(40),
    })),
  ];
  const variables = {
    messages: conversation,
    bos_token: '<s>',
    eos_token: '</s>',
    tools: null,
    documents: null,
    add_generation_prompt: true,
  };
  for (const source of [chatMl, llama3Like, qwen3Like, thinkingOnlyLike])
    expect(new BoundedTemplate(source).render(variables)).toBe(new Template(source).render(variables));
  const all =
    '{{ range(5) | list }}{{ range(2, 9, 3) | list }}{{ range(5, 0, -2) | list }}{{ none is none }}{{ True }}';
  expect(new BoundedTemplate(all).render({})).toBe(new Template(all).render({}));
  expect(new BoundedTemplate('{{ strftime_now("%Y") }}').render({})).toBe(String(new Date().getFullYear()));
});

test('leaves room for a conversation of a thousand long turns', () => {
  const messages = Array.from({ length: 1000 }, (_, index) => ({
    role: index % 2 ? 'assistant' : 'user',
    content: 'word '.repeat(400),
  }));
  const template = createChatTemplate(qwen3Like);
  expect(template.render(messages).length).toBeGreaterThan(2_000_000);
});

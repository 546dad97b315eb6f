import { expect, test } from 'vitest';
import { joinReasoning, splitReasoning } from '../../src/text/reasoning.js';

test.each([
  ['<think>\nadd\n</think>\n\n42', false, 'add', '42'],
  ['add\n</think>\n\n42', true, 'add', '42'],
  ['add</think>42', false, 'add', '42'],
  ['<think>add and', false, 'add and', null],
  ['add and', true, 'add and', null],
  ['42', false, null, '42'],
  ['', true, '', null],
  ['', false, null, ''],
  ['<think></think>42', false, '', '42'],
  ['Sure. <think>add</think>42', false, 'Sure. add', '42'],
  ['<think>add</think>42 </think> or not <think>', false, 'add', '42 </think> or not <think>'],
  ['<think>add</think>', false, 'add', ''],
  ['42 <think>', false, '42', null],
])('%j, opened %j', (text, opened, reasoning, answer) => {
  expect(splitReasoning(text, { opened })).toEqual({ reasoning, answer });
});

test('takes other tags, and gives back what was joined', () => {
  const tags = { open: '[THINK]', close: '[/THINK]' };
  expect(splitReasoning('[THINK]<think>[/THINK]a', { tags })).toEqual({ reasoning: '<think>', answer: 'a' });
  expect(splitReasoning(joinReasoning('one\ntwo', 'three'))).toEqual({ reasoning: 'one\ntwo', answer: 'three' });
  expect(joinReasoning('r', 'a')).toBe('<think>\nr\n</think>\n\na');
});

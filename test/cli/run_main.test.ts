import { expect, test } from 'vitest';
import { errorLine } from '../../src/cli/run_main.js';
import { didYouMean, UserError } from '../../src/errors.js';

test('an error is one line', () => {
  expect(errorLine(new UserError('Expected A\n  but received B\n'))).toBe('error: Expected A but received B');
  expect(errorLine('text')).toBe('error: text');
});

test('a programming error says that it is one', () => {
  expect(errorLine(new TypeError('x is not a function'))).toMatch(/^error: x is not a function \(a bug in .*\)$/);
});

test('the nearest name, or nothing', () => {
  expect(didYouMean('temprature', ['topP', 'temperature'])).toBe(" (did you mean 'temperature'?)");
  expect(didYouMean('TopP', ['topP', 'topK'])).toBe(" (did you mean 'topP'?)");
  expect(didYouMean('zebra', ['topP', 'temperature'])).toBe('');
});

import { expect, it } from 'vitest';
import { templates } from '../../src/data/word_problem_templates.js';
import { generateWordProblems } from '../../src/data/word_problems.js';

const numbersIn = (text: string) => (text.match(/\d+/g) ?? []).map(Number);

it('is a function of seed, split and index', () => {
  const long = generateWordProblems({ split: 'train', count: 40, seed: 3 });
  expect(generateWordProblems({ split: 'train', count: 10, seed: 3 })).toEqual(long.slice(0, 10));
  expect(generateWordProblems({ split: 'train', count: 40, seed: 4 })).not.toEqual(long);
});

it('never tells the same problem in both splits, whatever the seeds', () => {
  const key = (text: string) =>
    text
      .replace(/\b[A-Z][a-z]+\b/g, '')
      .replace(/\b(?:apples|books|marbles|stickers|pencils|cookies|coins|stamps|shells|cards)\b/g, '');
  const trained = new Set(
    [1, 2, 3].flatMap((seed) => generateWordProblems({ split: 'train', count: 300, seed }).map((q) => key(q.question))),
  );
  const held = generateWordProblems({ split: 'eval', count: 300, seed: 2 }).map((q) => key(q.question));
  expect(held.filter((question) => trained.has(question))).toEqual([]);
  expect(new Set(held).size).toBe(300);
});

it('mixes all templates of the chosen levels, with natural numbers as answers', () => {
  const questions = generateWordProblems({ split: 'train', count: 400, seed: 1 });
  for (const question of questions) {
    expect(question.answer).toMatch(/^[1-9]\d*$/);
    expect(numbersIn(question.question).length).toBeGreaterThanOrEqual(2);
    expect(question.question).not.toMatch(/undefined|NaN/);
  }
  const easy = generateWordProblems({ split: 'train', count: 200, seed: 1, levels: [1] });
  for (const { question, answer } of easy) {
    const [a, b] = numbersIn(question);
    expect([String(a! + b!), String(a! - b!)]).toContain(answer);
  }
  expect(new Set(templates.map((template) => template.name)).size).toBe(templates.length);
});

it('refuses what it cannot make', () => {
  expect(() => generateWordProblems({ split: 'eval', count: 5000, levels: [1] })).toThrow(
    /Expected 'count' to be at most about \d+/,
  );
  expect(() => generateWordProblems({ split: 'eval', count: 1, levels: [9] })).toThrow(/Expected 'levels'/);
});

import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { loadStudyConfig, studyKeys } from '../../src/pipeline/config.js';

it.each(readdirSync('examples').filter((name) => name.endsWith('.yaml')))('examples/%s is a study', async (name) => {
  const { config, text } = await loadStudyConfig(`examples/${name}`);
  expect(config.students.length).toBeGreaterThan(0);
  expect(text).toBe(readFileSync(`examples/${name}`, 'utf8'));
});

it('examples/reference.yaml names every key', () => {
  const text = readFileSync('examples/reference.yaml', 'utf8');
  const missing = studyKeys().filter((key) => !new RegExp(`\\b${key}:`).test(text));
  expect(studyKeys().length).toBeGreaterThan(40);
  expect(missing).toEqual([]);
});

it('examples/quickstart.yaml is large enough to say something', async () => {
  const { config } = await loadStudyConfig('examples/quickstart.yaml');
  expect(config.questions.eval[0]!.count).toBeGreaterThanOrEqual(100);
  expect(config.teacher.attempts).toBeGreaterThanOrEqual(2);
  expect(config.students[0]!.arms).toEqual(['raw', 'compressed', 'truncated', 'answer-only']);
});

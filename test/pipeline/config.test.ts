import { expect, it } from 'vitest';
import { parseStudyConfig } from '../../src/pipeline/config.js';

const minimal = () => ({
  run: 'runs/x',
  questions: { train: { generate: 'arithmetic', count: 10 }, eval: { file: 'eval.jsonl' } },
  teacher: { model: 'm' } as Record<string, unknown>,
  compressors: [{ name: 'c', model: 'm' }] as Record<string, unknown>[],
  students: [{ name: 's', model: 'm' }] as Record<string, unknown>[],
});

it('takes several sources of questions', () => {
  const train = [
    { generate: 'arithmetic', count: 2 },
    { dataset: 'mmlu', path: 'mmlu', subjects: ['stem'] },
  ];
  const { questions } = parseStudyConfig({ ...minimal(), questions: { ...minimal().questions, train } });
  expect(questions.train).toEqual(train);
});

it('fills in the defaults', () => {
  const config = parseStudyConfig(minimal());
  expect(config.compressors[0]!.sampling.temperature).toBe(0.3);
  expect(config.truncate).toEqual({ like: 'c', tokenizer: 'm' });
  expect(config.students[0]!.arms).toEqual(['raw', 'c', 'truncated', 'answer-only']);
  expect(config.students[0]!.training).toMatchObject({ method: 'lora', lora: { rank: 64, dropout: 0.05 }, seed: 0 });
  expect(config).toMatchObject({ dtype: 'f32', seed: 0, matched: true, evaluate: { maxTokens: 8192 } });
  expect(config.questions.eval).toEqual([{ file: 'eval.jsonl' }]);
  expect(parseStudyConfig({ ...minimal(), device: 'cuda:0' }).dtype).toBe('bf16');
  expect(parseStudyConfig({ ...minimal(), truncate: false }).students[0]!.arms).toEqual(['raw', 'c', 'answer-only']);
});

it.each<[string, (value: ReturnType<typeof minimal> & Record<string, unknown>) => void, RegExp]>([
  [
    'an unknown key',
    (v) => Object.assign(v.teacher, { atempts: 3 }),
    /^study: Unknown key 'teacher\.atempts' \(did you mean 'attempts'\?\)$/,
  ],
  [
    'an unknown training key',
    (v) => Object.assign(v.students[0]!, { training: { learningrate: 1 } }),
    /students\.0\.training: Unknown key 'learningrate' \(did you mean 'learningRate'\?\)/,
  ],
  [
    "a training key that is the study's",
    (v) => Object.assign(v.students[0]!, { training: { seed: 1 } }),
    /'students\.0\.training' without 'seed'/,
  ],
  [
    'an unknown placeholder',
    (v) => Object.assign(v.teacher, { prompt: '{{queston}}' }),
    /without \{\{queston\}\} \(did you mean 'question'\?\)/,
  ],
  [
    'a prompt without the question',
    (v) => Object.assign(v.teacher, { prompt: 'Hi' }),
    /'teacher\.prompt' to be a template that holds \{\{question\}\}/,
  ],
  [
    'no source',
    (v) => Object.assign(v.questions.train, { file: 'x' }),
    /'questions\.train' to be either 'generate' or 'file'/,
  ],
  [
    'a dataset without a place',
    (v) => Object.assign(v.questions, { train: { dataset: 'gsm8k' } }),
    /'questions\.train' to be given a 'path' with 'dataset'/,
  ],
  [
    'subjects of a dataset that has none',
    (v) => Object.assign(v.questions, { train: [{ dataset: 'gsm8k', path: 'x', subjects: ['stem'] }] }),
    /'questions\.train\.0' to be without 'subjects' unless 'dataset' is mmlu/,
  ],
  [
    'a split of a file',
    (v) => Object.assign(v.questions.eval, { split: 'test' }),
    /'questions\.eval' to be without 'split' unless it is a 'dataset'/,
  ],
  ['no count', (v) => Object.assign(v.questions, { train: { generate: 'arithmetic' } }), /given a 'count'/],
  [
    'a reserved arm',
    (v) => Object.assign(v.compressors[0]!, { name: 'raw' }),
    /'compressors\.0\.name' to be unlike any other arm's but received 'raw'/,
  ],
  ['a name that is no file name', (v) => Object.assign(v.compressors[0]!, { name: '../x' }), /'compressors\.0\.name'/],
  [
    'an unknown arm',
    (v) => Object.assign(v.students[0]!, { arms: ['row'] }),
    /'students\.0\.arms' to name arms of this study \(raw, c, truncated, answer-only\)/,
  ],
  [
    'an unknown compressor',
    (v) => Object.assign(v, { truncate: { like: 'd' } }),
    /'truncate\.like' to name a compressor \(c\)/,
  ],
  ['a missing key', (v) => Object.assign(v, { students: undefined }), /'students' to be an array but received nothing/],
  ['the same student twice', (v) => v.students.push(v.students[0]!), /'students\.1\.name' to be unique/],
])('refuses %s', (_, change, message) => {
  const value = minimal();
  change(value);
  expect(() => parseStudyConfig(value)).toThrow(message);
});

import { expect, it } from 'vitest';
import { baseOfCop } from '../../../src/data/datasets/medmcqa.js';
import { type DatasetName, datasetAdapter, datasetNames } from '../../../src/data/datasets/registry.js';

const read = (name: DatasetName, row: object, seed = 0) => datasetAdapter(name).open([row])(row, seed);

const choices = (text: string[], label: string[]) => ({ text, label });

it.each<[DatasetName, object, string]>([
  ['gsm8k', { question: 'Q', answer: 'He has 3*4=<<3*4=12>>12.\n#### 1,012' }, '1,012'],
  ['svamp', { Body: 'Ann has 3 pens.', Question: 'How many?', Answer: '145.0' }, '145.0'],
  ['multiarith', { question: ' Q ', final_ans: '7' }, '7'],
  ['aqua_rat', { question: 'Q', options: ['A)125', 'B) 3', 'C)x'], rationale: '', correct: 'B' }, 'B'],
  // labels that are not A–D, and a key that is the fourth label's text
  [
    'arc_challenge',
    { id: 'a', question: 'Q', choices: choices(['w', 'x', 'y', 'z'], ['1', '2', '3', '4']), answerKey: '4' },
    'D',
  ],
  ['arc_easy', { id: 'a', question: 'Q', choices: choices(['w', 'x', 'y'], ['A', 'B', 'C']), answerKey: 'C' }, 'C'],
  ['commonsense_qa', { id: 'a', question: 'Q', choices: choices(['v', 'w'], ['A', 'B']), answerKey: 'B' }, 'B'],
  ['medqa', { question: 'Q', options: { B: 'b', A: 'a', C: 'c', D: 'd' }, answer_idx: 'C' }, 'C'],
  ['medmcqa', { id: 'm', question: 'Q', opa: 'a', opb: 'b', opc: 'c', opd: 'd', cop: 0, exp: null }, 'A'],
  ['medmcqa', { id: 'm', question: 'Q', opa: 'a', opb: 'b', opc: 'c', opd: 'd', cop: 4 }, 'D'],
  [
    'medmcqa',
    { id: 'm', question: 'Q', opa: 'a', opb: 'b', opc: 'c', opd: 'd', cop: 2, exp: "Ans. is 'b' i.e. x" },
    'B',
  ],
  [
    'medmcqa',
    { id: 'm', question: 'Q', opa: 'a', opb: 'b', opc: 'c', opd: 'd', cop: 2, exp: 'Answer: (C) since' },
    'C',
  ],
  ['medexpqa', { full_question: 'Q', options: { 1: 'a', 2: 'b', 3: 'c', 4: 'd', 5: null }, correct_option: 4 }, 'D'],
  ['medexpqa', { full_question: 'Q', options: { 1: 'a', 2: null, 3: 'c', 4: 'd' }, correct_option: 3 }, 'B'],
  ['mmlu', { question: 'Q', subject: 'virology', choices: ['a', 'b', 'c', 'd'], answer: 3 }, 'D'],
  ['hellaswag', { ctx_a: 'A man', ctx_b: 'he', activity_label: 'Run', endings: ['a', 'b', 'c', 'd'], label: '2' }, 'C'],
  ['winogrande', { sentence: 'The _ is big.', option1: 'cat', option2: 'dog', answer: '2' }, 'B'],
  ['piqa', { goal: 'G', sol1: 'x', sol2: 'y', label: 1 }, 'B'],
  ['boolq', { question: 'is it so', passage: 'P.', label: 0 }, 'false'],
  ['boolq', { question: 'is it so?', passage: 'P.', label: 1 }, 'true'],
])('%s reads %j as %s', (name, row, answer) => {
  expect(read(name, row).answer).toBe(answer);
});

it('shows the options with letters by place, without the marks of the dataset', () => {
  expect(read('aqua_rat', { question: ' How far? ', options: ['A)125', 'B) 3 km'], correct: 'B' }).question).toBe(
    'How far?\n\nA. 125\nB. 3 km\n\nAnswer with the letter of the right option.',
  );
  const arc = { id: 'a', question: 'Q', choices: choices(['w', 'x'], ['1', '2']), answerKey: '1' };
  expect(read('arc_easy', arc).question).toContain('A. w\nB. x');
  const nulled = { full_question: 'Q', options: { 1: 'a', 2: null, 3: 'c' }, correct_option: 3 };
  expect(read('medexpqa', nulled).question).toContain('A. a\nB. c\n');
});

it('puts a HellaSwag context together and drops its marks', () => {
  const row = {
    ctx_a: 'How to run. [title] Start [step] now.',
    ctx_b: 'he walks',
    activity_label: 'Sport',
    endings: ['[substeps] away.', 'b'],
    label: 0,
  };
  const { question } = read('hellaswag', row);
  expect(question).toContain('Sport: How to run.. Start now. He walks');
  expect(question).toContain('A. away.');
});

it.each<[DatasetName, object]>([
  ['truthful_qa', { question: 'Q', mc1_targets: { choices: ['right', 'x', 'y', 'z'], labels: [1, 0, 0, 0] } }],
  [
    'gpqa',
    {
      Question: 'Q',
      'Correct Answer': 'right',
      'Incorrect Answer 1': 'x',
      'Incorrect Answer 2': 'y',
      'Incorrect Answer 3': 'z',
    },
  ],
])('%s shuffles options by seed, keeps the order, and the gold moves about', (name, row) => {
  const drafts = Array.from({ length: 40 }, (_, seed) => read(name, row, seed));
  for (const { question, answer, order } of drafts) {
    expect(question).toContain(`\n${answer}. right\n`);
    expect(order!.indexOf(0)).toBe(answer.charCodeAt(0) - 65);
    expect([...order!].sort()).toEqual([0, 1, 2, 3]);
  }
  expect(new Set(drafts.map(({ answer }) => answer))).toEqual(new Set(['A', 'B', 'C', 'D']));
  expect(read(name, row, 7)).toEqual(read(name, row, 7));
});

it('finds out what cop counts from, or says that it cannot', () => {
  expect(baseOfCop([{ cop: 1 }, { cop: 0 }])).toBe(0);
  expect(baseOfCop([{ cop: 1 }, { cop: 4 }])).toBe(1);
  expect(
    baseOfCop([
      { cop: 1, exp: 'Ans: B' },
      { cop: 1, exp: "Ans. is 'b'" },
      { cop: 2, exp: 'Ans-B' },
    ]),
  ).toBe(0);
  expect(() => baseOfCop([{ cop: 1, exp: 'Because.' }])).toThrow(/whether 'cop' counts from 0 or from 1/);
  expect(() => baseOfCop([{ cop: 0 }, { cop: 4 }])).toThrow(/both a 0 and a 4/);
});

it.each<[DatasetName, object, RegExp]>([
  ['gsm8k', { question: 'Q', answer: '12' }, /'answer' to end in '#### RESULT'/],
  ['aqua_rat', { question: 'Q', options: ['A)1', '2'], correct: 'A' }, /'options' like 'A\)125' but received "2"/],
  ['aqua_rat', { question: 'Q', options: ['A)1', 'B)2'], correct: 'C' }, /one of the 2 options but received -1/],
  [
    'commonsense_qa',
    { id: 'a', question: 'Q', choices: choices(['v', 'w'], ['A', 'B']), answerKey: '' },
    /received -1/,
  ],
  ['hellaswag', { ctx_a: '', ctx_b: '', activity_label: '', endings: ['a', 'b'], label: '' }, /use validation/],
  ['winogrande', { sentence: '_', option1: 'a', option2: 'b', answer: '' }, /a split without answers/],
  ['piqa', { goal: 'G', sol1: 'x', sol2: 'y', label: -1 }, /received -1/],
  ['boolq', { question: 'q', passage: 'P.', label: -1 }, /'label' to be 0 or 1 but received -1/],
  ['truthful_qa', { question: 'Q', mc1_targets: { choices: ['a', 'b'], labels: [1, 1] } }, /received \[1,1\]/],
  ['mmlu', { question: 'Q', subject: 's', choices: ['a', 'b'], answer: 2 }, /received 2/],
])('%s refuses %j', (name, row, message) => {
  expect(() => read(name, row)).toThrow(message);
});

it('knows the datasets of the paper', () => {
  expect(datasetNames).toHaveLength(17);
});

/** How fast answers are extracted and verified: rows a second of one thread, by type of answer. */
import { answersEqual } from '../src/data/answers.js';
import { Draws } from '../src/data/draws.js';
import { extractAnswer } from '../src/data/extract.js';
import type { AnswerType } from '../src/data/questions.js';
import { readEnvironment } from './common/environment.js';
import { readOptions } from './common/options.js';
import { writeResult } from './common/result.js';

const options = readOptions({
  rows: [100_000, 'rows in all, the same number of each kind'],
  words: [200, 'words of reasoning before each answer'],
  out: ['benchmarks/results', 'folder of the results'],
});

interface Row {
  expected: string;
  response: string;
}

/** An expected answer and how a model may write the same, or the wrong one every fourth time. */
type Maker = (a: number, b: number, right: boolean) => [expected: string, written: string];

const off = (right: boolean): number => (right ? 0 : 1);
const kinds: { name: string; type: AnswerType; make: Maker }[] = [
  { name: 'number', type: 'number', make: (a, b, right) => [`${a * b}`, `The answer is $${a * b + off(right)}.00.`] },
  {
    name: 'letter',
    type: 'letter',
    make: (a, _, right) => ['ABCD'[a % 4]!, `Answer: (${'ABCD'[(a + off(right)) % 4]}) it`],
  },
  {
    name: 'boolean',
    type: 'boolean',
    make: (_, b, right) => [right ? 'true' : 'false', `The answer is ${b ? 'yes' : 'no'}.`],
  },
  {
    name: 'fraction',
    type: 'latex',
    make: (a, b, right) => [`\\frac{${a}}{${b}}`, `\\boxed{\\dfrac{${2 * a + off(right)}}{${2 * b}}}`],
  },
  {
    name: 'root',
    type: 'latex',
    make: (a, b, right) => [`${a}\\sqrt{${b}}`, `\\boxed{\\sqrt{${a * a * b + off(right)}}}`],
  },
  {
    name: 'polynomial',
    type: 'latex',
    make: (a, b, right) => [`(x+${a})(x-${b})`, `$x^2 + ${a - b}x - ${a * b + off(right)}$`],
  },
  {
    name: 'interval',
    type: 'latex',
    make: (a, b, right) => [`x > ${a}/${b}`, `\\boxed{(\\frac{${a}}{${b}}, ${right ? '' : '-'}\\infty)}`],
  },
  {
    name: 'set',
    type: 'latex',
    make: (a, b, right) => [`\\{${a}, ${b}\\}`, `\\boxed{${b} \\text{ and } ${a + off(right)}}`],
  },
  {
    name: 'matrix',
    type: 'latex',
    make: (a, b, right) => [
      `\\begin{pmatrix}${a}\\\\${b}\\end{pmatrix}`,
      `\\boxed{\\begin{bmatrix} ${a} \\\\ ${b + off(right)} \\end{bmatrix}}`,
    ],
  },
  {
    name: 'by sampling',
    type: 'latex',
    make: (a, b, right) => [
      `\\sin(${a}x + ${b})`,
      `\\boxed{\\sin ${a}x \\cos ${b} ${right ? '+' : '-'} \\cos ${a}x \\sin ${b}}`,
    ],
  },
];

const filler = [
  'so',
  'we',
  'add',
  '12',
  'and',
  'then',
  '$x$',
  'which',
  'is',
  '3.5',
  'apples,',
  'because',
  'of',
  'that.',
];
const each = Math.ceil(options.rows / kinds.length);
const rowsOf = (name: string, make: Maker): Row[] =>
  Array.from({ length: each }, (_, index) => {
    const draws = new Draws('verification', name, index);
    const [a, b] = [draws.integer(2, 400), draws.integer(2, 400)];
    const [expected, written] = make(a, b, index % 4 !== 0);
    const start = draws.integer(0, filler.length - 1);
    const words = Array.from({ length: options.words }, (_, word) => filler[(start + word * 5) % filler.length]);
    return { expected, response: `${words.join(' ')}\n\n${written}` };
  });

const measured = kinds.map(({ name, type, make }) => {
  const rows = rowsOf(name, make);
  let equal = 0;
  const start = process.cpuUsage();
  for (const { expected, response } of rows) {
    const given = extractAnswer(type, response);
    if (given !== null && answersEqual(type, expected, given.answer)) equal++;
  }
  const { user, system } = process.cpuUsage(start);
  return { name, rows: rows.length, equal, seconds: (user + system) / 1e6 };
});

const seconds = measured.reduce((sum, kind) => sum + kind.seconds, 0);
writeResult(options.out, {
  name: 'verification',
  title: `Verification: ${each * kinds.length} answers extracted and compared`,
  environment: readEnvironment(),
  rates: null,
  conditions: { Settings: options },
  tables: [
    {
      columns: ['answers', 'rows', 'equal', 'seconds', 'µs a row'],
      rows: [
        ...measured,
        { name: 'all', rows: each * kinds.length, equal: measured.reduce((sum, kind) => sum + kind.equal, 0), seconds },
      ].map((kind) => [
        kind.name,
        `${kind.rows}`,
        `${kind.equal}`,
        kind.seconds.toFixed(2),
        ((1e6 * kind.seconds) / kind.rows).toFixed(0),
      ]),
    },
  ],
  notes: ['Processor time of one thread, in one process, without a cache: every row is read and compared anew.'],
  data: { measured },
});

/** The stories of the built-in word problems: one entry per kind of problem, easiest first. */

export interface Story {
  /** Two different first names. */
  name: string;
  other: string;
  /** Something that is counted, in the plural. */
  thing: string;
}

export interface Template {
  name: string;
  /** 1: one sum or difference. 2: one product or two sums. 3: a product and a sum. */
  level: 1 | 2 | 3;
  /** Inclusive range of every number of the problem. */
  ranges: readonly (readonly [low: number, high: number])[];
  /** Which combinations make sense; default all. */
  valid?: (numbers: readonly number[]) => boolean;
  text: (story: Story, numbers: readonly number[]) => string;
  answer: (numbers: readonly number[]) => number;
}

// biome-ignore format: a list of words
export const firstNames = [
  'Anna', 'Ben', 'Clara', 'David', 'Emma', 'Felix', 'Grace', 'Henry', 'Ivy', 'Jack', 'Kate', 'Leo', 'Mia', 'Noah',
  'Olivia', 'Paul', 'Rosa', 'Sam', 'Tina', 'Victor',
] as const;

// biome-ignore format: a list of words
export const things = [
  'apples', 'books', 'marbles', 'stickers', 'pencils', 'cookies', 'coins', 'stamps', 'shells', 'cards',
] as const;

export const templates: readonly Template[] = [
  {
    name: 'gain',
    level: 1,
    ranges: [
      [2, 15],
      [2, 9],
    ],
    text: ({ name, other, thing }, [a, b]) =>
      `${name} has ${a} ${thing}. ${other} gives ${name} ${b} more ${thing}. How many ${thing} does ${name} have now?`,
    answer: ([a, b]) => a! + b!,
  },
  {
    name: 'loss',
    level: 1,
    ranges: [
      [4, 20],
      [2, 9],
    ],
    valid: ([a, b]) => a! > b!,
    text: ({ name, other, thing }, [a, b]) =>
      `${name} has ${a} ${thing} and gives ${b} of them to ${other}. How many ${thing} does ${name} have left?`,
    answer: ([a, b]) => a! - b!,
  },
  {
    name: 'altogether',
    level: 1,
    ranges: [
      [2, 15],
      [2, 15],
    ],
    text: ({ name, other, thing }, [a, b]) =>
      `${name} has ${a} ${thing} and ${other} has ${b} ${thing}. How many ${thing} do they have altogether?`,
    answer: ([a, b]) => a! + b!,
  },
  {
    name: 'found',
    level: 1,
    ranges: [
      [2, 20],
      [2, 9],
    ],
    text: ({ name, thing }, [a, b]) =>
      `There are ${a} ${thing} on a table. ${name} puts ${b} more ${thing} on it. How many ${thing} are on the table now?`,
    answer: ([a, b]) => a! + b!,
  },
  {
    name: 'taken',
    level: 1,
    ranges: [
      [4, 20],
      [2, 9],
    ],
    valid: ([a, b]) => a! > b!,
    text: ({ name, thing }, [a, b]) =>
      `There are ${a} ${thing} in a box. ${name} takes ${b} ${thing} out of it. How many ${thing} are left in the box?`,
    answer: ([a, b]) => a! - b!,
  },
  {
    name: 'boxes',
    level: 2,
    ranges: [
      [2, 10],
      [2, 12],
    ],
    text: ({ name, thing }, [a, b]) =>
      `${name} buys ${a} boxes. Each box holds ${b} ${thing}. How many ${thing} does ${name} buy in total?`,
    answer: ([a, b]) => a! * b!,
  },
  {
    name: 'price',
    level: 2,
    ranges: [
      [2, 10],
      [2, 12],
    ],
    text: ({ name }, [a, b]) =>
      `A ticket costs ${b} dollars. ${name} buys ${a} tickets. How many dollars does ${name} pay?`,
    answer: ([a, b]) => a! * b!,
  },
  {
    name: 'gain-loss',
    level: 2,
    ranges: [
      [3, 20],
      [2, 9],
      [2, 9],
    ],
    valid: ([a, b, c]) => a! + b! > c!,
    text: ({ name, other, thing }, [a, b, c]) =>
      `${name} has ${a} ${thing}. ${name} finds ${b} more and then gives ${c} to ${other}. ` +
      `How many ${thing} does ${name} have now?`,
    answer: ([a, b, c]) => a! + b! - c!,
  },
  {
    name: 'loss-loss',
    level: 2,
    ranges: [
      [12, 30],
      [2, 9],
      [2, 9],
    ],
    valid: ([a, b, c]) => a! > b! + c!,
    text: ({ name, other, thing }, [a, b, c]) =>
      `${name} has ${a} ${thing}. ${name} loses ${b} of them and gives ${c} to ${other}. ` +
      `How many ${thing} does ${name} have left?`,
    answer: ([a, b, c]) => a! - b! - c!,
  },
  {
    name: 'boxes-gain',
    level: 3,
    ranges: [
      [2, 9],
      [2, 10],
      [2, 15],
    ],
    text: ({ name, other, thing }, [a, b, c]) =>
      `${name} has ${a} bags with ${b} ${thing} in each bag. ${other} gives ${name} ${c} more ${thing}. ` +
      `How many ${thing} does ${name} have in total?`,
    answer: ([a, b, c]) => a! * b! + c!,
  },
  {
    name: 'boxes-loss',
    level: 3,
    ranges: [
      [2, 9],
      [3, 10],
      [2, 15],
    ],
    valid: ([a, b, c]) => a! * b! > c!,
    text: ({ name, other, thing }, [a, b, c]) =>
      `${name} buys ${a} packs of ${b} ${thing} and gives ${c} ${thing} to ${other}. ` +
      `How many ${thing} does ${name} have left?`,
    answer: ([a, b, c]) => a! * b! - c!,
  },
  {
    name: 'change',
    level: 3,
    ranges: [
      [2, 6],
      [2, 9],
      [20, 60],
    ],
    valid: ([a, b, c]) => a! * b! < c!,
    text: ({ name }, [a, b, c]) =>
      `${name} has ${c} dollars and buys ${a} toys for ${b} dollars each. How many dollars does ${name} have left?`,
    answer: ([a, b, c]) => c! - a! * b!,
  },
];

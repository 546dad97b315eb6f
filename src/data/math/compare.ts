/**
 * Whether two mathematical answers are the same. Never by guess: exactly where both have a normal form, by values of 320
 * bits at seeded points beyond that, and "no" where neither decides.
 */
import { absolute, fromRational, magnitude, sign, subtract } from './big_float.js';
import { type Expression, partsOf, variablesOf } from './expression.js';
import { normalForm, rationalValue, sameQuotient } from './normal_form.js';
import { Budget, describe, leadingCoefficient, type Polynomial, same as samePolynomial, scale } from './polynomial.js';
import { type Rational, rational, Undecidable } from './rational.js';
import { boundsAsSet, isRealSet, sameRealSet } from './real_sets.js';
import { agreeAtSamples, realValue } from './sampling.js';
import { type Answer, type RelationStatement, readAnswer, type Statement, type ValueStatement } from './statement.js';
import { type CommaReading, longestText } from './tokens.js';
import { plainWords, tidy } from './words.js';

/** What is undecidable is "no". */
function decided(question: () => boolean): boolean {
  try {
    return question();
  } catch (error) {
    if (error instanceof Undecidable) return false;
    throw error;
  }
}

/**
 * @param expected the right answer, LaTeX or plain; may be a relation, whose solution set a given answer may state
 * @param given what is to be checked
 */
export function sameMathematics(expected: string, given: string): boolean {
  if (expected.length > longestText || given.length > longestText) return false;
  const [a, b] = [tidy(expected), tidy(given)];
  if (a === '' || b === '') return false;
  if (a === b) return true;
  const [words, otherWords] = [plainWords(a), plainWords(b)];
  if (words !== null && words === otherWords) return true;
  return readings(a, b).some(([left, right]) =>
    decided(() => sameAnswer(readAnswer(a, left), readAnswer(b, right), new Budget())),
  );
}

/** In which ways commas between digits are read, where there is more than one. */
function readings(a: string, b: string): [CommaReading, CommaReading][] {
  const result: [CommaReading, CommaReading][] = [['thousands', 'thousands']];
  const grouped = /\d,\d{3}/;
  if (grouped.test(a) || grouped.test(b)) result.push(['list', 'list']);
  // A decimal comma, where the text is nothing else: 1,5 but not 1,500, which is a thousand and more.
  const decimal = /^-?(?:\d+,(?:\d{1,2}|\d{4,})|0,\d+)$/;
  if (decimal.test(a) !== decimal.test(b))
    result.push(decimal.test(a) ? ['decimal', 'thousands'] : ['thousands', 'decimal']);
  return result;
}

const isTupleOf = (answer: Answer): boolean => answer.length > 1 && answer.some((group) => group.length > 1);

/** Groups with several statements are tuples: `p=5, q=2; p=7, q=2`. */
function entries(answer: Answer): Statement[] {
  if (!isTupleOf(answer)) return answer.flat();
  return answer.map((group) => {
    const items = group.map((statement) => {
      if (statement.kind !== 'value') throw new Undecidable('a relation in a tuple');
      return statement.value;
    });
    return plainValue({ kind: 'sequence', open: '(', close: ')', items });
  });
}

const plainValue = (value: Expression): ValueStatement => ({
  kind: 'value',
  subject: null,
  name: null,
  value,
  approximation: null,
  unit: null,
  percent: false,
});

/** The names of a list in which everything has a name of its own, else null. */
function distinctNames(statements: readonly Statement[]): string[] | null {
  const names = statements.map((statement) => (statement.kind === 'value' ? statement.name : null));
  return names.includes(null) || new Set(names).size !== names.length ? null : (names as string[]);
}

function sameAnswer(expected: Answer, given: Answer, budget: Budget): boolean {
  const [a, b] = [withoutRepeats(entries(expected), budget), withoutRepeats(entries(given), budget)];
  if (a.length === 0 || b.length === 0) return false;
  if (a.length === 1 && b.length === 1) return sameStatement(a[0]!, b[0]!, budget);
  if (a.length === 1 || b.length === 1) return sameListAndOne(a, b, budget);
  if (a.length !== b.length) return false;
  const [names, otherNames] = [distinctNames(a), distinctNames(b)];
  if ((names !== null || otherNames !== null) && (names === null || otherNames === null)) {
    // x = 1, y = 2 against 1, 2: in order, unless the other list has names of its own.
    const bare = names === null ? a : b;
    const anonymous = bare.every((statement) => statement.kind === 'value' && statement.name === null);
    return anonymous && a.every((statement, index) => sameStatement(statement, b[index]!, budget));
  }
  return sameElements(a, b, (x, y) => sameStatement(x, y, budget));
}

/** A pair or triple that a list names twice counts once; a number may be meant to stand there twice. */
function withoutRepeats(statements: readonly Statement[], budget: Budget): readonly Statement[] {
  const isTuple = (statement: Statement): statement is ValueStatement =>
    statement.kind === 'value' && statement.value.kind === 'sequence';
  if (!statements.every(isTuple)) return statements;
  return statements.filter(
    (x, index) =>
      !statements.slice(0, index).some((y) => x.name === y.name && sameExpression(x.value, y.value, budget)),
  );
}

/** A list beside a set of the same elements, or beside a tuple of them in order. */
function sameListAndOne(a: readonly Statement[], b: readonly Statement[], budget: Budget): boolean {
  const [list, one] = a.length > 1 ? [a, b[0]!] : [b, a[0]!];
  if (one.kind !== 'value' || list.some((statement) => statement.kind !== 'value')) return false;
  const statements = list as readonly ValueStatement[];
  const same = (x: Expression, y: Expression): boolean => sameExpression(x, y, budget);
  const values = statements.map(({ value }) => value);
  const names = new Set(statements.map(({ name }) => name));
  if (one.value.kind === 'set') {
    return names.size === 1 && compatible(one.name, statements[0]!.name) && sameElements(one.value.items, values, same);
  }
  // Two values in round brackets may be an interval, so the list must say that they are x and y.
  const ordered = distinctNames(statements) !== null || (values.length > 2 && names.size === 1 && names.has(null));
  if (one.value.kind !== 'sequence' || !ordered || one.value.open !== '(' || one.value.close !== ')') return false;
  return sameInOrder(one.value.items, values, same);
}

const compatible = (a: string | null, b: string | null): boolean => a === null || b === null || a === b;

/** The same elements in any order. */
function sameElements<T>(a: readonly T[], b: readonly T[], same: (x: T, y: T) => boolean): boolean {
  if (a.length !== b.length) return false;
  const left = [...b];
  return a.every((x) => {
    const index = left.findIndex((y) => same(x, y));
    if (index >= 0) left.splice(index, 1);
    return index >= 0;
  });
}

const sameInOrder = <T>(a: readonly T[], b: readonly T[], same: (x: T, y: T) => boolean): boolean =>
  a.length === b.length && a.every((x, index) => same(x, b[index]!));

function sameStatement(a: Statement, b: Statement, budget: Budget): boolean {
  if (a.kind === 'value' && b.kind === 'value' && compatible(a.name, b.name)) return sameValue(a, b, budget);
  if (a.kind === 'relation' && b.kind === 'value' && (isRealSet(b.value) || b.value.kind === 'setOperation')) {
    const set = boundsAsSet(a.sides, a.operators, isUnknown);
    return set !== null && sameRealSet(set, b.value, (x, y) => sameExpression(x, y, budget));
  }
  const [left, right] = [asRelation(a), asRelation(b)];
  return left !== null && right !== null && sameRelation(left, right, budget);
}

/** What bounds may be on: a variable, or a function of one. */
const isUnknown = (side: Expression): boolean =>
  variablesOf(side).size === 1 &&
  (side.kind === 'symbol' || (side.kind === 'call' && partsOf(side).every(isUnknown) && side.name !== 'abs'));

function asRelation(statement: Statement): RelationStatement | null {
  if (statement.kind === 'relation') return statement;
  if (statement.subject?.kind !== 'symbol' || statement.unit !== null || statement.percent) return null;
  return { kind: 'relation', sides: [statement.subject, statement.value], operators: ['='] };
}

function sameValue(a: ValueStatement, b: ValueStatement, budget: Budget): boolean {
  if (!compatible(a.unit, b.unit)) return false;
  if (a.percent !== b.percent) {
    const [share, plain] = a.percent ? [a, b] : [b, a];
    return samePercentage(share.value, plain.value, budget);
  }
  if (sameExpression(a.value, b.value, budget)) return true;
  if (isRoundingOf(a.value, b.value) || isRoundingOf(b.value, a.value)) return true;
  return (
    b.approximation !== null && isNear(b.value, b.approximation) && sameExpression(a.value, b.approximation, budget)
  );
}

const exactValue = (expression: Expression, budget: Budget): Rational | null => {
  try {
    return rationalValue(normalForm(expression, budget));
  } catch (error) {
    if (error instanceof Undecidable) return null;
    throw error;
  }
};

/** 50% is 0.5; and it is the 50 that a question "what percentage" expects, which is too large to be meant as a share. */
function samePercentage(share: Expression, plain: Expression, budget: Budget): boolean {
  const [x, y] = [exactValue(share, budget), exactValue(plain, budget)];
  if (x === null || y === null) return false;
  if (x.n * y.d === y.n * x.d * 100n) return true;
  return x.n * y.d === y.n * x.d && (y.n < 0n ? -y.n : y.n) > y.d;
}

/** Digits from which on a decimal fraction can only be a rounded value of something. */
const tellingDigits = 10;

/** A decimal with many digits that is an exact value, rounded. */
function isRoundingOf(decimal: Expression, exact: Expression): boolean {
  const positive = decimal.kind === 'negative' ? decimal.of : decimal;
  if (positive.kind !== 'number' || positive.decimals === null || variablesOf(exact).size > 0) return false;
  // All digits but leading zeros.
  const digits = (positive.value.n * 10n ** BigInt(positive.decimals)) / positive.value.d;
  const isDecimal = exact.kind === 'number' && exact.decimals !== null;
  if (String(digits).length < tellingDigits || isDecimal) return false;
  const [x, y] = [realValue(decimal), realValue(exact)];
  if (x === null || y === null) return false;
  const half = fromRational(rational(1n, 2n * 10n ** BigInt(positive.decimals)));
  return sign(subtract(absolute(subtract(x, y)), half)) <= 0;
}

/** Whether what was given as an approximation is one, to about one part in a hundred. */
function isNear(value: Expression, approximation: Expression): boolean {
  const [x, y] = [realValue(value), realValue(approximation)];
  return x !== null && y !== null && magnitude(subtract(x, y)) <= magnitude(x) - 6;
}

function sameExpression(a: Expression, b: Expression, budget: Budget): boolean {
  const same = (x: Expression, y: Expression): boolean => sameExpression(x, y, budget);
  if (a.kind === 'sequence' && b.kind === 'sequence') {
    return a.open === b.open && a.close === b.close && sameInOrder(a.items, b.items, same);
  }
  if (a.kind === 'set' && b.kind === 'set') {
    const [left, right] = [a.items, b.items];
    const within = (x: Expression, set: readonly Expression[]): boolean => set.some((y) => same(x, y));
    return left.every((x) => within(x, right)) && right.every((y) => within(y, left));
  }
  if (a.kind === 'matrix' && b.kind === 'matrix') {
    const determinant = /^[vV]/.test(a.style) || /^[vV]/.test(b.style);
    if (determinant && a.style !== b.style) return false;
    return sameInOrder(a.rows, b.rows, (x, y) => sameInOrder(x, y, same));
  }
  if (a.kind === 'matrix' || b.kind === 'matrix') return sameVector(a, b, same);
  if (isInfinite(a) || isInfinite(b)) return isInfinite(a) && isInfinite(b) && signOf(a) === signOf(b);
  if (isSymbolOf(a, 'ℂℤℕℚ') || isSymbolOf(b, 'ℂℤℕℚ')) {
    return a.kind === 'symbol' && b.kind === 'symbol' && a.name === b.name;
  }
  const isSet = (x: Expression): boolean => x.kind === 'setOperation' || isSymbolOf(x, 'ℝ∅') || isRealSet(x);
  if (isSet(a) || isSet(b)) return isSet(a) && isSet(b) && decided(() => sameRealSet(a, b, same));
  if (a.kind === 'sequence' || b.kind === 'sequence') return false;
  return sameNumber(a, b, budget);
}

const isSymbolOf = (expression: Expression, names: string): boolean =>
  expression.kind === 'symbol' && names.includes(expression.name);
const isInfinite = (x: Expression): boolean => isSymbolOf(x, '∞') || (x.kind === 'negative' && isInfinite(x.of));
const signOf = (x: Expression): number => (x.kind === 'negative' ? -signOf(x.of) : 1);

/** A column or a row beside the same numbers in round brackets. */
function sameVector(a: Expression, b: Expression, same: (x: Expression, y: Expression) => boolean): boolean {
  const [matrix, tuple] = a.kind === 'matrix' ? [a, b] : [b, a];
  if (matrix.kind !== 'matrix' || tuple.kind !== 'sequence' || tuple.open !== '(' || tuple.close !== ')') return false;
  if (/^[vV]/.test(matrix.style) || (matrix.rows.length !== 1 && matrix.rows[0]!.length !== 1)) return false;
  return sameInOrder(matrix.rows.flat(), tuple.items, same);
}

/** Exactly by normal forms; where that gives no answer, or no, by values. Two rational numbers are never sampled. */
function sameNumber(a: Expression, b: Expression, budget: Budget): boolean {
  try {
    const [x, y] = [normalForm(a, budget), normalForm(b, budget)];
    if (sameQuotient(x, y, budget)) return true;
    if (rationalValue(x) !== null && rationalValue(y) !== null) return false;
  } catch (error) {
    if (!(error instanceof Undecidable)) throw error;
  }
  return decided(() => agreeAtSamples(a, b));
}

const flipped: Record<string, string> = { '>': '<', '≥': '≤' };

/** Greater-than turned round, so that a chain reads upwards. */
function upward(relation: RelationStatement): RelationStatement {
  if (!relation.operators.every((operator) => operator in flipped)) return relation;
  const operators = relation.operators.map((operator) => flipped[operator]!).toReversed();
  return { ...relation, sides: relation.sides.toReversed(), operators };
}

function sameRelation(a: RelationStatement, b: RelationStatement, budget: Budget): boolean {
  const [x, y] = [upward(a), upward(b)];
  if (x.operators.join() !== y.operators.join()) return false;
  const same = (p: Expression, q: Expression): boolean => sameExpression(p, q, budget);
  if (sameInOrder(x.sides, y.sides, same)) return true;
  const symmetric = x.operators.every((operator) => operator === '=' || operator === '≠');
  if (symmetric && sameInOrder(x.sides, y.sides.toReversed(), same)) return true;
  return x.sides.length === 2 && decided(() => sameUpToFactor(x, y, symmetric, budget));
}

/** left − right of one is a number times that of the other; a positive one for an inequality. */
function sameUpToFactor(a: RelationStatement, b: RelationStatement, symmetric: boolean, budget: Budget): boolean {
  const difference = ({ sides }: RelationStatement): Polynomial => {
    const terms: Expression[] = [sides[0]!, { kind: 'negative', of: sides[1]! }];
    const { top, bottom } = normalForm({ kind: 'sum', terms }, budget);
    if (describe(bottom) !== '1' || top.size === 0) throw new Undecidable('an unknown below a line');
    return top;
  };
  const [x, y] = [difference(a), difference(b)];
  const [p, q] = [leadingCoefficient(x), leadingCoefficient(y)];
  if (!symmetric && p.n > 0n !== q.n > 0n) return false;
  return samePolynomial(scale(x, q), scale(y, p));
}

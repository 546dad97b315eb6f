/** An answer as it is written: one or several statements, each a value, perhaps with a name and a unit, or a relation. */
import { type Expression, partsOf, symbol, variablesOf } from './expression.js';
import { parse } from './parser.js';
import { Undecidable } from './rational.js';
import { type CommaReading, type Token, tokenize } from './tokens.js';

export interface ValueStatement {
  kind: 'value';
  /** What it is the value of, `x`, `f(x)`, `|AB|`; null where it stands alone or is called by words. */
  subject: Expression | null;
  /** The subject's spelling; null with it. */
  name: string | null;
  value: Expression;
  /** What was given as an approximation of the value; null where nothing was. */
  approximation: Expression | null;
  /** Normalised; null where it has none. */
  unit: string | null;
  percent: boolean;
}

export interface RelationStatement {
  kind: 'relation';
  sides: Expression[];
  /** Between them: `=`, `≠`, `<`, `≤`, `>`, `≥`. */
  operators: string[];
}

export type Statement = ValueStatement | RelationStatement;
/** Statements in groups: `;` parts groups where there are commas too. */
export type Answer = Statement[][];

const mostStatements = 60;
const relations = new Set(['=', '≠', '<', '>', '≤', '≥', '≈', '∈']);
const opening = new Set(['(', '[', '{', '\\{', '⟨', '⌊', '⌈']);
const closing = new Set([')', ']', '}', '\\}', '⟩', '⌋', '⌉']);

const isSymbol = (token: Token | undefined, text: string): boolean => token?.kind === 'symbol' && token.text === text;

/** Cuts tokens where `separates` holds outside all brackets and environments. */
function split(tokens: readonly Token[], separates: (token: Token) => boolean): { parts: Token[][]; cuts: Token[] } {
  const parts: Token[][] = [[]];
  const cuts: Token[] = [];
  let depth = 0;
  for (const token of tokens) {
    if (token.kind === 'command' && token.text === 'begin') depth++;
    if (token.kind === 'command' && token.text === 'end') depth--;
    if (token.kind === 'symbol' && opening.has(token.text)) depth++;
    if (token.kind === 'symbol' && closing.has(token.text)) depth--;
    if (depth === 0 && separates(token)) {
      parts.push([]);
      cuts.push(token);
    } else parts.at(-1)!.push(token);
  }
  return { parts, cuts };
}

/** Takes off braces around the whole, which do not show. */
function withoutBraces(tokens: Token[]): Token[] {
  let result = tokens;
  while (result.length >= 2 && isSymbol(result[0], '{') && isSymbol(result.at(-1), '}')) {
    let depth = 0;
    const closedAt = result.findIndex((token) => {
      if (isSymbol(token, '{')) depth++;
      return isSymbol(token, '}') && --depth === 0;
    });
    if (closedAt !== result.length - 1) return result;
    result = result.slice(1, -1);
  }
  return result;
}

const isConjunction = (token: Token): boolean =>
  token.kind === 'text' && /^[,;]?\s*(?:and|or)$/i.test(token.text.trim());

/** @throws {Undecidable} when the text is not mathematics that can be read in one way */
export function readAnswer(text: string, commas: CommaReading): Answer {
  const tokens = withoutBraces(tokenize(text, commas)).filter((token) => token.text !== '\n');
  const semicolons = split(tokens, (token) => isSymbol(token, ';')).parts;
  const groups = semicolons
    .map((group) => split(group, (token) => isSymbol(token, ',') || isConjunction(token)).parts.filter(notEmpty))
    .filter(notEmpty);
  if (groups.flat().length > mostStatements) throw new Undecidable('too many statements');
  return groups.map((group) => inheritNames(group.flatMap((part) => readStatements(withoutBraces(part)))));
}

const notEmpty = (list: readonly unknown[]): boolean => list.length > 0;

/** `x = 1, 2, 3`: the later values are x's too. */
function inheritNames(statements: Statement[]): Statement[] {
  const [first, ...rest] = statements;
  if (first?.kind !== 'value' || first.name === null) return statements;
  const bare = rest.every((statement) => statement.kind === 'value' && statement.name === null);
  if (!bare) return statements;
  return statements.map((statement) => ({ ...statement, subject: first.subject, name: first.name }) as ValueStatement);
}

/** One statement, or two where there is a ±. */
function readStatements(tokens: readonly Token[]): Statement[] {
  const { parts, cuts } = split(tokens, (token) => token.kind === 'symbol' && relations.has(token.text));
  const operators = cuts.map((cut) => cut.text);
  const plus = parts.map((part) => parse(part, 1));
  const statement = assemble(plus, operators);
  if (!plus.some((part) => part.alternates)) return [statement];
  return [
    statement,
    assemble(
      parts.map((part) => parse(part, -1)),
      operators,
    ),
  ];
}

function assemble(
  sides: readonly { expression: Expression; unit: string | null }[],
  operators: readonly string[],
): Statement {
  const expressions = sides.map((side) => side.expression);
  const [first, last] = [expressions[0]!, expressions.at(-1)!];
  if (sides.slice(0, -1).some((side) => side.unit !== null)) throw new Undecidable('a unit amid a relation');
  const unit = sides.at(-1)!.unit;
  if (operators.length === 0) return value(null, first, null, unit);
  if (operators.length === 1 && operators[0] === '∈' && isName(first)) return value(first, last, null, unit);
  const equals = operators.filter((operator) => operator === '=').length;
  const approximate = operators.at(-1) === '≈';
  if (equals + (approximate ? 1 : 0) === operators.length) {
    const exact = approximate ? expressions.at(-2)! : last;
    const approximation = approximate ? last : null;
    if (isName(first) && operators[0] === '=') return value(first, exact, approximation, unit);
    if (isName(first) && operators.length === 1) return value(first, last, null, unit);
    if (isName(last) && operators.length === 1 && !variablesOf(first).has(nameText(last))) {
      return value(last, first, null, null);
    }
    if (expressions.every((side) => variablesOf(side).size === 0)) return value(null, exact, approximation, unit);
  }
  if (operators.some((operator) => operator === '≈' || operator === '∈') || unit !== null) {
    throw new Undecidable('an unusual relation');
  }
  return { kind: 'relation', sides: expressions, operators: [...operators] };
}

function value(
  subject: Expression | null,
  given: Expression,
  approximation: Expression | null,
  words: string | null,
): ValueStatement {
  let [expression, unit, percent] = [given, words === null ? null : normaliseUnit(words), false];
  if (expression.kind === 'percent') [expression, percent] = [expression.of, true];
  else if (expression.kind === 'negative' && expression.of.kind === 'percent') {
    [expression, percent] = [{ kind: 'negative', of: expression.of.of }, true];
  }
  if (unit === '%') [unit, percent] = [null, true];
  if (expression.kind === 'product' && isDegree(expression.factors.at(-1)!)) {
    const factors = expression.factors.slice(0, -1);
    [expression, unit] = [factors.length === 1 ? factors[0]! : { kind: 'product', factors }, `°${unit ?? ''}`];
  } else if (
    expression.kind === 'negative' &&
    expression.of.kind === 'product' &&
    isDegree(expression.of.factors.at(-1)!)
  ) {
    const factors = expression.of.factors.slice(0, -1);
    [expression, unit] = [{ kind: 'negative', of: { kind: 'product', factors } }, `°${unit ?? ''}`];
  }
  if (subject === null || isWords(subject))
    return { kind: 'value', subject: null, name: null, value: expression, approximation, unit, percent };
  // The argument of a function may be called anything: f(n) = n² is f(x) = x².
  if (subject.kind === 'call' && subject.args.length === 1 && subject.args[0]!.kind === 'symbol') {
    const bound = subject.args[0]!.name;
    const renamed: Expression = { ...subject, args: [symbol('□')] };
    const rename = (part: Expression): Expression => renameIn(part, bound, '□');
    return {
      kind: 'value',
      subject: renamed,
      name: nameText(renamed),
      value: rename(expression),
      approximation,
      unit,
      percent,
    };
  }
  return { kind: 'value', subject, name: nameText(subject), value: expression, approximation, unit, percent };
}

const isDegree = (expression: Expression): boolean => expression.kind === 'symbol' && expression.name === '°';
const isWords = (expression: Expression): boolean => expression.kind === 'symbol' && expression.name.startsWith('"');
const isCapital = (expression: Expression): boolean => expression.kind === 'symbol' && /^[A-Z]/.test(expression.name);

/** `AB`, a length between two points. */
const isFigure = (expression: Expression): boolean =>
  isCapital(expression) || (expression.kind === 'product' && expression.factors.every(isCapital));

/** Whether an equation with this on its left says what something is, rather than how things relate. */
function isName(expression: Expression): boolean {
  switch (expression.kind) {
    case 'symbol':
      return !['pi', 'e', 'i', '∞', '°', '∅', 'ℝ', 'ℂ', 'ℤ', 'ℕ', 'ℚ'].includes(expression.name);
    case 'product':
      return isFigure(expression) || (isLowerM(expression.factors[0]!) && isAngle(expression.factors[1]!));
    case 'quotient':
      return isFigure(expression.top) && isFigure(expression.bottom);
    case 'call':
      if (expression.name === 'abs') return isFigure(expression.args[0]!);
      return /^[A-Za-z](?:_.*)?'*$/.test(expression.name) && expression.args.every((arg) => partsOf(arg).length === 0);
    case 'sequence':
      return expression.items.every(isName);
    default:
      return false;
  }
}

const isLowerM = (expression: Expression): boolean => expression.kind === 'symbol' && expression.name === 'm';
const isAngle = (expression: Expression): boolean => expression.kind === 'symbol' && expression.name.startsWith('∠');

function nameText(expression: Expression): string {
  if (expression.kind === 'symbol') return expression.name;
  const parts = partsOf(expression).map(nameText).join(',');
  return `${expression.kind === 'call' ? expression.name : expression.kind}(${parts})`;
}

function renameIn(expression: Expression, from: string, to: string): Expression {
  const rename = (part: Expression): Expression => renameIn(part, from, to);
  switch (expression.kind) {
    case 'symbol':
      return expression.name === from ? symbol(to) : expression;
    case 'number':
      return expression;
    case 'sum':
      return { ...expression, terms: expression.terms.map(rename) };
    case 'product':
      return { ...expression, factors: expression.factors.map(rename) };
    case 'negative':
    case 'root':
    case 'percent':
      return { ...expression, of: rename(expression.of) };
    case 'quotient':
      return { ...expression, top: rename(expression.top), bottom: rename(expression.bottom) };
    case 'power':
      return { ...expression, base: rename(expression.base), exponent: rename(expression.exponent) };
    case 'call':
      return { ...expression, args: expression.args.map(rename) };
    case 'sequence':
    case 'set':
      return { ...expression, items: expression.items.map(rename) };
    case 'setOperation':
      return { ...expression, left: rename(expression.left), right: rename(expression.right) };
    case 'matrix':
      return { ...expression, rows: expression.rows.map((row) => row.map(rename)) };
  }
}

// biome-ignore format: a table
const unitNames: Record<string, string> = {
  percent: '%', percentage: '%', pct: '%', degree: '°', deg: '°', centimeter: 'cm', centimetre: 'cm', meter: 'm',
  metre: 'm', kilometer: 'km', kilometre: 'km', millimeter: 'mm', millimetre: 'mm', inche: 'in', inch: 'in',
  foot: 'ft', feet: 'ft', yard: 'yd', mile: 'mi', gram: 'g', kilogram: 'kg', pound: 'lb', ounce: 'oz', liter: 'l',
  litre: 'l', second: 's', sec: 's', minute: 'min', hour: 'h', hr: 'h', dollar: '$', usd: '$', euro: '€', eur: '€',
  cent: '¢',
};

/** One spelling per unit: `square centimeters`, `sq cm` and `cm ^2` are `cm^2`. */
function normaliseUnit(words: string): string {
  const squared = /^(?:square|sq\.?)\s+(.*)$/i.exec(words.trim());
  const cubed = /^cubic\s+(.*)$/i.exec(words.trim());
  const base = (squared ?? cubed)?.[1] ?? words;
  const spelled = base
    .toLowerCase()
    .replace(/[.()]/g, '')
    .trim()
    .split(/\s+/)
    .map((word) => {
      const single = word.length > 2 ? word.replace(/s$/, '') : word;
      return unitNames[single] ?? single;
    })
    .join(' ')
    .replace(/\s*\^\s*/g, '^')
    .replace('²', '^2')
    .replace('³', '^3');
  return squared === null ? (cubed === null ? spelled : `${spelled}^3`) : `${spelled}^2`;
}

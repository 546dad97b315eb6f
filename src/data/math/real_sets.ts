/** Equality of sets of real numbers: intervals, finite sets, ℝ, ∅, and their unions, intersections and differences. */
import { type BigFloat, sign, subtract } from './big_float.js';
import { type Expression, symbol } from './expression.js';
import { Undecidable } from './rational.js';
import { realValue } from './sampling.js';

interface End {
  expression: Expression;
  value: BigFloat;
}

const infinite = (expression: Expression): -1 | 0 | 1 => {
  if (expression.kind === 'symbol' && expression.name === '∞') return 1;
  if (expression.kind === 'negative' && infinite(expression.of) === 1) return -1;
  return 0;
};

const isInterval = (set: Expression): set is Extract<Expression, { kind: 'sequence' }> =>
  set.kind === 'sequence' && set.items.length === 2 && set.open !== ':';

/** Whether an expression is a set of reals, and not just something that looks like a pair. */
export function isRealSet(set: Expression): boolean {
  if (set.kind === 'setOperation') return isRealSet(set.left) && isRealSet(set.right);
  return set.kind === 'set' || isInterval(set) || (set.kind === 'symbol' && (set.name === 'ℝ' || set.name === '∅'));
}

/** All numbers where membership may change. */
function ends(set: Expression, found: End[] = []): End[] {
  if (set.kind === 'setOperation') return ends(set.right, ends(set.left, found));
  if (set.kind !== 'set' && set.kind !== 'sequence') return found;
  for (const item of set.items) {
    if (infinite(item) !== 0) continue;
    const value = realValue(item);
    if (value === null) throw new Undecidable('an end without a value');
    found.push({ expression: item, value });
  }
  return found;
}

/**
 * Whether a position is in the set. Positions are counted along the line: 2k+1 is the k-th end itself, 2k the open gap
 * before it; `place` gives an end's position.
 */
function contains(set: Expression, position: number, place: (end: Expression) => number): boolean {
  if (set.kind === 'setOperation') {
    const [left, right] = [contains(set.left, position, place), contains(set.right, position, place)];
    return set.operator === '∪' ? left || right : set.operator === '∩' ? left && right : left && !right;
  }
  if (set.kind === 'symbol') return set.name === 'ℝ';
  if (set.kind === 'set') return set.items.some((item) => place(item) === position);
  if (set.kind !== 'sequence') throw new Undecidable('not a set');
  const [low, high] = [place(set.items[0]!), place(set.items[1]!)];
  if (low >= high) throw new Undecidable('an interval without inside');
  if (position === low) return set.open === '[';
  if (position === high) return set.close === ']';
  return low < position && position < high;
}

/** @throws {Undecidable} where an end has no real value, or an interval is empty */
export function sameRealSet(a: Expression, b: Expression, same: (x: Expression, y: Expression) => boolean): boolean {
  const all = [...ends(a), ...ends(b)].sort((x, y) => sign(subtract(x.value, y.value)));
  const distinct: End[] = [];
  const position = new Map<Expression, number>();
  for (const end of all) {
    if (distinct.length === 0 || !same(distinct.at(-1)!.expression, end.expression)) distinct.push(end);
    position.set(end.expression, 2 * distinct.length - 1);
  }
  const last = 2 * distinct.length;
  const place = (end: Expression): number => {
    const side = infinite(end);
    return side === 0 ? position.get(end)! : side === 1 ? last + 1 : -1;
  };
  for (let at = 0; at <= last; at++) if (contains(a, at, place) !== contains(b, at, place)) return false;
  return true;
}

const bounds: Record<string, [strict: boolean, up: boolean]> = {
  '<': [true, true],
  '≤': [false, true],
  '>': [true, false],
  '≥': [false, false],
};

/**
 * The set that bounds on one thing describe: `x < 3`, `1 ≤ f(x) < 2`, `x ≠ 0`; null for any other relation.
 * @param isBounded whether a side is the thing bounded
 */
export function boundsAsSet(
  sides: readonly Expression[],
  operators: readonly string[],
  isBounded: (side: Expression) => boolean,
): Expression | null {
  if (sides.length === 2 && operators[0] === '≠' && isBounded(sides[0]!)) {
    return { kind: 'setOperation', operator: '∖', left: symbol('ℝ'), right: { kind: 'set', items: [sides[1]!] } };
  }
  const directions = operators.map((operator) => bounds[operator]);
  if (directions.some((direction) => direction === undefined)) return null;
  const up = directions[0]![1];
  if (directions.some((direction) => direction![1] !== up)) return null;
  const [ordered, strict] = up
    ? [sides, directions.map((direction) => direction![0])]
    : [sides.toReversed(), directions.map((direction) => direction![0]).toReversed()];
  const interval = (open: string, low: Expression, high: Expression, close: string): Expression => ({
    kind: 'sequence',
    open,
    close,
    items: [low, high],
  });
  const infinity = symbol('∞');
  if (ordered.length === 2 && isBounded(ordered[0]!)) {
    return interval('(', { kind: 'negative', of: infinity }, ordered[1]!, strict[0] ? ')' : ']');
  }
  if (ordered.length === 2 && isBounded(ordered[1]!))
    return interval(strict[0] ? '(' : '[', ordered[0]!, infinity, ')');
  if (ordered.length !== 3 || !isBounded(ordered[1]!)) return null;
  return interval(strict[0] ? '(' : '[', ordered[0]!, ordered[2]!, strict[1] ? ')' : ']');
}

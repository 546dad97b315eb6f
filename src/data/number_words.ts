/** Whole numbers in English words: `twenty-one`, `two hundred and five`, `three million`, `a dozen`, `half`. */

// biome-ignore format: a table
const small: Record<string, number> = {
  zero: 0, one: 1, two: 2, three: 3, four: 4, five: 5, six: 6, seven: 7, eight: 8, nine: 9, ten: 10, eleven: 11,
  twelve: 12, thirteen: 13, fourteen: 14, fifteen: 15, sixteen: 16, seventeen: 17, eighteen: 18, nineteen: 19,
  twenty: 20, thirty: 30, forty: 40, fifty: 50, sixty: 60, seventy: 70, eighty: 80, ninety: 90,
};
const large: Record<string, number> = { thousand: 1e3, million: 1e6, billion: 1e9, trillion: 1e12 };

/** What follows a number that is not the whole answer: `one of them`, `two or three`, `four more than`. */
const goesOn =
  /^(?:of|or|and|to|more|less|fewer|than|times|point|over|by|th|hundredths?|halves|thirds?|quarters?|fourths?|fifths?)$/;

/** The value below a thousand that stands at the start of `words`, and how many of them it takes. */
function belowThousand(words: readonly string[]): { value: number; length: number } | null {
  let [value, length] = [0, 0];
  const at = (index: number): number | undefined => small[words[index] ?? ''];
  const first = words[0] === 'a' ? 1 : at(0);
  if (first === undefined) return null;
  if (words[1] === 'hundred' && first >= 1 && first <= 9) {
    [value, length] = [first * 100, 2];
    if (words[2] === 'and' && at(3) !== undefined) length = 3;
  } else if (words[0] === 'a') return large[words[1] ?? ''] === undefined ? null : { value: 1, length: 1 };
  const tens = at(length);
  if (tens === undefined) return length > 0 ? { value, length } : null;
  const ones = at(length + 1);
  if (tens >= 20 && ones !== undefined && ones >= 1 && ones <= 9)
    return { value: value + tens + ones, length: length + 2 };
  return { value: value + tens, length: length + 1 };
}

/**
 * The number that a statement begins with, where it is spelled out and at most three words follow.
 * @returns null where there is none, or the words go on in a way that changes it
 */
export function readNumberWords(text: string): bigint | null {
  const words = text
    .toLowerCase()
    .replace(/[^a-z' -]/g, ' ')
    .split(/[\s-]+/)
    .filter((word) => word !== '');
  let [total, at, scale] = [0, 0, Number.POSITIVE_INFINITY];
  if (words[0] === 'minus' || words[0] === 'negative') return null;
  for (;;) {
    const part = belowThousand(words.slice(at));
    if (part === null) break;
    const by = large[words[at + part.length] ?? ''];
    if ((by ?? 1) >= scale) return null;
    total += part.value * (by ?? 1);
    at += part.length + (by === undefined ? 0 : 1);
    scale = by ?? 1;
    if (by === undefined) break;
    if (words[at] === 'and' && small[words[at + 1] ?? ''] !== undefined) at++;
  }
  if (at === 0) return null;
  const rest = words.slice(at);
  if (rest[0] === 'dozen') return rest.length <= 3 && !rest.slice(1).some(changes) ? BigInt(total * 12) : null;
  return rest.length > 3 || rest.some(changes) ? null : BigInt(total);
}

const changes = (word: string): boolean =>
  goesOn.test(word) || word in small || word in large || word === 'hundred' || word === 'dozen';

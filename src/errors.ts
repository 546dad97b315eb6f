import { distance } from 'fastest-levenshtein';

/**
 * Something the user can put right: bad input, a missing file, a machine without a prerequisite.
 * The message is one line that names the argument or file and the remedy; the command line prints it and exits 1.
 */
export class UserError extends Error {
  override readonly name = 'UserError';
}

/**
 * The name among `candidates` nearest to a misspelled `name`, as text to put behind an error message.
 *
 * @returns ` (did you mean 'x'?)`, or an empty string when nothing is near (more than 40 % of the letters, and more than two, differ).
 */
export function didYouMean(name: string, candidates: Iterable<string>): string {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length * 0.4)) + 1;
  for (const candidate of candidates) {
    const edits = distance(name.toLowerCase(), candidate.toLowerCase());
    if (edits < bestDistance) [best, bestDistance] = [candidate, edits];
  }
  return best === undefined ? '' : ` (did you mean '${best}'?)`;
}

/** Answers before they are parsed: what frames them is taken off, and words are told from mathematics. */

const frames: [RegExp, string][] = [
  [/^\\\(([\s\S]*)\\\)$/, '$1'],
  [/^\\\[([\s\S]*)\\\]$/, '$1'],
  [/^\$\$([^$]*)\$\$$/, '$1'],
  [/^\$([^$]*)\$$/, '$1'],
  [/^\\f?boxed\s*\{([\s\S]*)\}$/, '$1'],
  // Mathematics that is set as words.
  [/^\\(?:text|mbox|textbf|mathrm)\s*\{([^{}]*\d[^{}]*)\}$/, '$1'],
];

/** Whether every brace is closed; an escaped one counts too, as LaTeX has both in pairs. */
export const isBalanced = (text: string): boolean => {
  let depth = 0;
  for (const c of text) {
    if (c === '{') depth++;
    else if (c === '}' && --depth < 0) return false;
  }
  return depth === 0;
};

const escapedTwice =
  /(?<!\\)\\\\(?=(?:left|right|[dt]?frac|f?boxed|text|sqrt|pi|leq?|geq?|neq?|cup|cap|in|infty|cdot|times|pm|begin|end)\b)/g;

/** Commands whose backslash was escaped once too often, as in a JSON text that was encoded twice. */
export const unescaped = (text: string): string => (text.includes('\\\\') ? text.replace(escapedTwice, '\\') : text);

/** One spelling for what is only typeset differently: frames, full stops and runs of spaces go. */
export function tidy(text: string): string {
  let result = unescaped(text).replace(/\s+/g, ' ').trim();
  for (let changed = true; changed; ) {
    changed = false;
    const bare = result.replace(/(?:[\s.,;:]|\\[\s])+$/, '').trim();
    if (bare !== result && !/\\$/.test(bare)) {
      result = bare;
      changed = true;
    }
    for (const [frame, inner] of frames) {
      const candidate = frame.test(result) ? result.replace(frame, inner).trim() : result;
      if (candidate !== result && isBalanced(candidate)) {
        result = candidate;
        changed = true;
      }
    }
  }
  return result;
}

/**
 * The words of an answer that is nothing but words, such as `\text{Evelyn}`, `Yes`, `(C)`; null for mathematics.
 * Case counts in words of one or two letters, which may be names of points.
 */
export function plainWords(text: string): string | null {
  const words = text
    .replace(/\\(?:text|mbox|textbf|textit|textrm|mathrm|operatorname)\s*\{([^{}]*)\}/g, ' $1 ')
    .replace(/\\[ ,;!]|~|[$"'.]/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .replace(/^\(\s*([A-Za-z])\s*\)$/, '$1');
  if (!/^\p{L}+(?:[ -]\p{L}+|, \p{L}+)*$/u.test(words)) return null;
  return words.replace(/\p{L}{3,}|^no$/giu, (word) => word.toLowerCase());
}

/** The words of LaTeX and of plain mathematics that the tokenizer knows. */

/** Commands that only change how things look or are spaced. */
// biome-ignore format: a list of words
export const dressing = new Set([
  'left', 'right', 'big', 'Big', 'bigg', 'Bigg', 'bigl', 'bigr', 'Bigl', 'Bigr', 'biggl', 'biggr', 'Biggl', 'Biggr',
  'displaystyle', 'textstyle', 'limits', 'nolimits', 'quad', 'qquad', 'hfill', 'thinspace', 'middle', 'hline',
  'boldsymbol', 'mathbf', 'mathit', 'mathsf', 'boxed', 'fbox', 'bm', 'mathstrut', 'strut', 'small', 'large', 'Large',
  'overline', 'vec', 'hat', 'bar', 'tilde', 'mathcal', 'overrightarrow', 'widehat', 'enspace', 'notag',
]);

/** Commands that are one symbol. */
// biome-ignore format: a table
export const symbols: Record<string, string> = {
  times: '*', cdot: '*', ast: '*', div: '/', pm: '±', mp: '∓', le: '≤', leq: '≤', leqslant: '≤', ge: '≥', geq: '≥',
  geqslant: '≥', lt: '<', gt: '>', ne: '≠', neq: '≠', approx: '≈', in: '∈', notin: '∉', cup: '∪', cap: '∩',
  setminus: '∖', backslash: '∖', smallsetminus: '∖', lbrace: '\\{', rbrace: '\\}', lvert: '|', rvert: '|', vert: '|',
  mid: '|', langle: '⟨', rangle: '⟩', lfloor: '⌊', rfloor: '⌋', lceil: '⌈', rceil: '⌉', lbrack: '[', rbrack: ']',
  colon: ':', to: '→', rightarrow: '→', implies: '⇒', Rightarrow: '⇒', iff: '⇔', Leftrightarrow: '⇔', degree: '°',
  circ: '∘', prime: "'",
  land: '∧', wedge: '∧', lor: '∨', vee: '∨', equiv: '≡', sim: '∼', simeq: '≈', cong: '≅', ldots: '…', dots: '…',
  cdots: '…', dotsc: '…', lparen: '(', rparen: ')',
};

/** Commands and words that are one name. */
// biome-ignore format: a table
export const names: Record<string, string> = {
  infty: '∞', infinity: '∞', inf: '∞', emptyset: '∅', varnothing: '∅', Pi: 'Π', varphi: 'phi', varepsilon: 'epsilon',
  vartheta: 'theta', R: 'ℝ', Reals: 'ℝ', angle: '∠', triangle: '△', ell: 'l',
};

// biome-ignore format: a list of words
export const functionNames = new Set([
  'sin', 'cos', 'tan', 'cot', 'sec', 'csc', 'arcsin', 'arccos', 'arctan', 'sinh', 'cosh', 'tanh', 'ln', 'log', 'lg',
  'exp', 'gcd', 'lcm', 'max', 'min', 'det', 'arg', 'deg', 'dim', 'Re', 'Im',
]);

/** Commands whose braces hold words. */
export const wordCommands = new Set([
  'text',
  'mbox',
  'textbf',
  'textit',
  'textrm',
  'textnormal',
  'mathrm',
  'operatorname',
  'texttt',
  'rm',
]);
/** Commands that the parser knows. */
export const structural = new Set([
  'frac',
  'sqrt',
  'binom',
  'begin',
  'end',
  'sum',
  'prod',
  'int',
  'lim',
  'bmod',
  'pmod',
  'mod',
]);
/** Commands that are others in another size. */
export const variants: Record<string, string> = {
  dfrac: 'frac',
  tfrac: 'frac',
  cfrac: 'frac',
  dbinom: 'binom',
  tbinom: 'binom',
};

/** In the order of the digits. */
export const superscripts = '⁰¹²³⁴⁵⁶⁷⁸⁹';
/** Characters that stand for an ASCII one. */
// biome-ignore format: a table
export const characters: Record<string, string> = {
  '−': '-', '–': '-', '‐': '-', '×': '*', '·': '*', '⋅': '*', '∗': '*', '÷': '/', '∣': '|', '∶': ':', '，': ',',
};
/** Relations of two characters, `<=`. */
export const withEquals: Record<string, string> = { '<': '≤', '>': '≥' };
/** Characters that are symbols as they stand. */
export const known = "+-*/^_=<>≤≥≠≈∈∉∪∩∖±∓()[]{}|,;:!'%°…→⇒⇔⟨⟩⌊⌋⌈⌉≡∼≅∧∨&√∘";
/** Characters that are names as they stand. */
// biome-ignore format: a table
export const plainNames: Record<string, string> = {
  '∞': '∞', '∅': '∅', ℝ: 'ℝ', ℂ: 'ℂ', ℤ: 'ℤ', ℕ: 'ℕ', ℚ: 'ℚ', '∠': '∠', '△': '△',
};

// biome-ignore format: a list of words
export const greek = new Set([
  'alpha', 'beta', 'gamma', 'delta', 'epsilon', 'zeta', 'eta', 'theta', 'iota', 'kappa', 'lambda', 'mu', 'nu', 'xi',
  'omicron', 'pi', 'rho', 'sigma', 'tau', 'upsilon', 'phi', 'chi', 'psi', 'omega',
]);

/** Short words that are units behind a number, not products of letters. */
// biome-ignore format: a list of words
export const unitWords = new Set([
  'cm', 'mm', 'km', 'kg', 'mg', 'ml', 'mL', 'kW', 'mph', 'kmh', 'ft', 'in', 'yd', 'mi', 'lb', 'lbs', 'oz', 'hr',
  'hrs', 'min', 'mins', 'sec', 'secs', 'ms', 'deg', 'pct', 'USD', 'EUR', 'GBP', 'MB', 'GB', 'KB', 'TB', 'am', 'pm',
  'AM', 'PM', 'day', 'men', 'ways', 'km²', 'sq', 'Hz', 'kHz', 'MHz', 'eV', 'mol', 'rad', 'cal',
]);

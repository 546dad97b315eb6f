/** An expected figure, and the interval in which the real one should lie. */
export interface Expected {
  expected: number;
  low: number;
  high: number;
}

export function addExpected(all: readonly Expected[]): Expected {
  const sum = (end: keyof Expected) => all.reduce((total, each) => total + each[end], 0);
  return { expected: sum('expected'), low: sum('low'), high: sum('high') };
}

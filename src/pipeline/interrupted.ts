/** The user stopped the run; what was finished is kept. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted';
}

export function throwIfInterrupted(signal: AbortSignal, what: string): void {
  if (signal.aborted) throw new Interrupted(`Interrupted during ${what}; every finished row is kept`);
}

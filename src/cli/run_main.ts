/** The frame of the command: whatever goes wrong becomes one line on stderr and an exit code. */

/** Programming errors: the user cannot put them right, so the message says how to see more. */
const bugs = [TypeError, RangeError, ReferenceError, SyntaxError];

/** `error: …` on one line, without a stack, and without what a terminal would obey: messages quote what files say. */
export function errorLine(error: unknown): string {
  if (!(error instanceof Error)) return `error: ${String(error)}`;
  const message = error.message.trim().replaceAll(/\s*[\p{Cc}\u2028\u2029]+\s*/gu, ' ');
  const isBug = bugs.some((kind) => error.constructor === kind);
  const hint = isBug ? ' (a bug in compress-distill: set COMPRESS_DISTILL_DEBUG=1 for the stack and report it)' : '';
  return `error: ${message}${hint}`;
}

/**
 * Runs `main` and leaves with exit code 1 when it throws. The process ends even where a device is still open: its
 * threads stop before the environment exits.
 */
export async function runMain(main: () => Promise<void>): Promise<void> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0); // the reader (head, less) has seen enough
    throw error;
  });
  try {
    await main();
  } catch (error) {
    console.error(errorLine(error));
    if (process.env.COMPRESS_DISTILL_DEBUG && error instanceof Error) console.error(error.stack);
    process.exit(1);
  }
}

/** How work on a file of rows ends: stopped, failed as a whole, or written, with what failed. */
import { UserError } from '../errors.js';
import { formatDuration } from '../pipeline/progress.js';
import { interruptedExitCode } from './interrupt.js';
import type { RowOutput } from './row_output.js';

export interface Work {
  /** Rows that there should be. */
  total: number;
  tokens: number;
  seconds: number;
  /** Rows that failed, and the first of them. */
  failed: number;
  firstFailure: { id: string | number; error: string } | null;
}

/**
 * Gives the file its name, or keeps what is there for the next run.
 * @throws UserError when rows failed; where every row did, nothing is written.
 */
export function conclude(output: RowOutput, { total, tokens, seconds, failed, firstFailure: first }: Work): void {
  if (output.rows < total) {
    output.stop();
    const where = output.rows > 0 ? ` in ${output.partialPath}` : '';
    console.error(`Stopped with ${output.rows} of ${total} rows${where}. The same command goes on from there.`);
    process.exitCode = interruptedExitCode;
    return;
  }
  if (first && failed === total) {
    output.discard();
    throw new UserError(
      `row '${first.id}': ${first.error}${total > 1 ? ` (and all ${total} rows failed)` : ''}; nothing is written`,
    );
  }
  output.finish();
  const rate = seconds > 0 ? `, ${(tokens / seconds).toFixed(1)} tokens/s` : '';
  console.error(`${total} rows in ${output.path}: ${tokens} tokens in ${formatDuration(seconds)}${rate}`);
  if (first)
    throw new UserError(`${failed} of ${total} rows failed and say why; the first is '${first.id}': ${first.error}`);
}

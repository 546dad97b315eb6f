/** Ctrl-C: the first one asks the work to stop and keep what is finished, the second one ends the process. */

/** What a shell sees of a program that Ctrl-C ended. */
export const interruptedExitCode = 130;

/**
 * Runs `work` with a signal that the first Ctrl-C (or SIGTERM) aborts.
 * @param resume says in a sentence how to go on later; it is printed when work was cut short.
 */
export async function interruptible<T>(resume: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(interruptedExitCode);
    process.stderr.write('\nStopping; what is finished is kept. Ctrl-C again stops at once.\n');
    controller.abort(new Error(`Stopped. ${resume}`));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    return await work(controller.signal);
  } catch (error) {
    if (!controller.signal.aborted) throw error;
    console.error(`Stopped. ${resume}`);
    process.exit(interruptedExitCode);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

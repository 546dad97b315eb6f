/** Errors in the words of the command line. */
import type { Command } from 'commander';
import { UserError } from '../errors.js';

/** Arguments of the library whose option has another name. */
const OPTION_OF: Readonly<Record<string, string>> = { kvCacheBytes: 'kvCacheGib', kvCacheFraction: 'kvCacheGib' };

/** Runs `work`. An error that names arguments of the library names the options of `command` that they came from instead. */
export async function namingFlags<R>(command: Command, work: () => R | Promise<R>): Promise<R> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    const flags = new Map(command.options.map((option) => [option.attributeName(), option.long]));
    const message = error.message.replaceAll(/'(\w+)'/g, (quoted, name: string) => {
      const flag = flags.get(OPTION_OF[name] ?? name);
      return flag ? `'${flag}'` : quoted;
    });
    throw message === error.message ? error : new UserError(message, { cause: error });
  }
}

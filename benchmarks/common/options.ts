import { parseArgs } from 'node:util';
import { didYouMean, UserError } from '../../src/errors.js';

/** An option by its name on the command line: its default, which decides whether it is a number, and what it is. */
export type OptionSpec = Readonly<Record<string, readonly [string | number, string]>>;
export type Options<S extends OptionSpec> = { readonly [K in keyof S]: S[K][0] extends number ? number : string };

/** Reads `--name value` from the command line. `--help` prints the options, a mistake one line; both end the process. */
export function readOptions<const S extends OptionSpec>(spec: S): Options<S> {
  try {
    return parseOptions(spec, process.argv.slice(2));
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    process.exit(1);
  }
}

/** @throws UserError with the nearest name. */
export function parseOptions<const S extends OptionSpec>(spec: S, args: readonly string[]): Options<S> {
  const names = Object.keys(spec);
  const { values } = parseArgs({
    args: args.map((arg) => checked(arg, names)),
    options: { help: { type: 'boolean' }, ...Object.fromEntries(names.map((name) => [name, { type: 'string' }])) },
  });
  if (values.help) {
    for (const name of names) console.log(`--${name.padEnd(20)} ${spec[name]![1]} (default: ${spec[name]![0]})`);
    process.exit(0);
  }
  const entries = names.map((name) => {
    const standard = spec[name]![0];
    const text = values[name as keyof typeof values] as string | undefined;
    if (text === undefined || typeof standard === 'string') return [name, text ?? standard];
    if (text.trim() === '' || !(Number(text) >= 0))
      throw new UserError(`Expected '--${name}' to be a number of at least 0 but received '${text}'`);
    return [name, Number(text)];
  });
  return Object.fromEntries(entries) as Options<S>;
}

function checked(arg: string, names: readonly string[]): string {
  const [, name] = /^--([^=]+)/.exec(arg) ?? [];
  if (name === undefined || name === 'help' || names.includes(name)) return arg;
  throw new UserError(`unknown option '--${name}'${didYouMean(name, names)}; see --help`);
}

/** Options that several commands share, and the parsers of their values. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { Links } from '../distributed/communication.js';
import { type MeshShape, parseMesh } from '../distributed/mesh_shape.js';

/** Where and how to compute; absent values are the command's or the YAML file's to decide. */
export interface GlobalOptions {
  device?: string;
  dtype?: 'f32' | 'bf16';
  threads?: number;
  mesh?: MeshShape;
}

/** The settings of a YAML file with the options that were given in place of its own; what is no mapping is left to the file's schema. */
export function overlay(settings: unknown, { device, dtype, threads, mesh }: GlobalOptions): unknown {
  if (typeof settings !== 'object' || settings === null) return settings;
  const given = Object.entries({ device, dtype, threads, mesh }).filter(([, value]) => value !== undefined);
  return { ...settings, ...Object.fromEntries(given) };
}

export function integer(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== '' && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`Expected an integer of at least ${least}.`);
  };
}

export function number(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('Expected a number.');
}

export function positive(text: string): number {
  const value = number(text);
  if (value > 0) return value;
  throw new InvalidArgumentError('Expected a number above 0.');
}

/** `1,2,3` */
export function integers(text: string): number[] {
  return text.split(',').map(integer(0));
}

/** For an option that may be given several times. */
export function collect(text: string, before: string[] = []): string[] {
  return [...before, text];
}

/** `128001:-100,42:5` or JSON `{"128001": -100}` */
export function numberByToken(text: string): Record<number, number> {
  const pairs: [string, unknown][] = text.trimStart().startsWith('{')
    ? Object.entries(parseJson(text))
    : text.split(',').map((pair) => pair.split(':') as [string, string]);
  return Object.fromEntries(pairs.map(([token, value]) => [integer(0)(token), number(String(value ?? ''))]));
}

function parseJson(text: string): object {
  try {
    return JSON.parse(text) as object;
  } catch {
    throw new InvalidArgumentError('Expected TOKEN:BIAS,… or a JSON object.');
  }
}

/** An option without which the command does not run. Unlike commander's own, a misspelt option is reported before a missing one. */
export function addRequiredOption<T>(
  command: Command,
  flags: string,
  description: string,
  parse?: (text: string) => T,
): void {
  const option = new Option(flags, `${description} (required)`);
  if (parse) option.argParser(parse);
  command.addOption(option).hook('preAction', () => {
    if (command.getOptionValue(option.attributeName()) === undefined)
      command.error(`error: required option '${flags}' not specified`);
  });
}

export function mesh(text: string): MeshShape {
  try {
    return parseMesh(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

/** `nvlink=450e9,network=50e9` */
export function links(text: string): Partial<Links> {
  const pairs = text.split(',').map((pair) => pair.split('=').map((part) => part.trim()));
  for (const [name, value, ...rest] of pairs)
    if (
      !['nvlink', 'network'].includes(name!) ||
      rest.length > 0 ||
      !(Number(value) > 0 && Number.isFinite(Number(value)))
    )
      throw new InvalidArgumentError('Expected bytes a second, such as nvlink=450e9,network=50e9.');
  return Object.fromEntries(pairs.map(([name, value]) => [name, Number(value)]));
}

/** For commands that can use several devices. */
export function addMeshOption(command: Command): Command {
  return command.option(
    '--mesh <shape>',
    'devices at work, such as dp=2,tp=4: replicas of the model, devices of each (default: one device)',
    mesh,
  );
}

/** --device, --dtype and --threads, accepted before and after the name of the command. */
export function addGlobalOptions(program: Command): Command {
  return program
    .option('--device <name>', 'cpu or cuda:N (default: cpu)')
    .addOption(
      new Option('--dtype <type>', 'of weights and activations (default: the device decides)').choices(['f32', 'bf16']),
    )
    .option('--threads <count>', 'CPU threads (default: every core; results do not depend on it)', integer(1));
}

/** What processes of a run say to each other, and to their control threads. */
import type { ProcessEnvironment } from './process_environment.js';

/** What must be alike on all processes, by a name for messages: settings, version, instruction set. */
export type Facts = Readonly<Record<string, string>>;

export interface ControlSetup extends ProcessEnvironment {
  readonly facts: Facts;
  /** World ranks of this process, for messages: `ranks 2 and 3`. */
  readonly ranks: string;
  /** How long a process may be silent. */
  readonly silenceSeconds: number;
}

/** Between processes. All but `hello` and `welcome` go both ways; process 0 passes on what is for all. */
export type Frame =
  | { readonly kind: 'hello'; readonly setup: ControlSetup; readonly dataPort: number }
  | { readonly kind: 'welcome'; readonly token: string; readonly addresses: string[]; readonly ranks: string }
  | { readonly kind: 'alive' }
  /** The run cannot go on. */
  | { readonly kind: 'failed'; readonly why: string }
  | { readonly kind: 'gather'; readonly round: number; readonly value: unknown }
  | { readonly kind: 'gathered'; readonly round: number; readonly values: unknown[] }
  | { readonly kind: 'message'; readonly process: number; readonly message: unknown }
  | { readonly kind: 'bye' };

/** From the control thread to the process's main thread. */
export type ControlNews =
  | { readonly kind: 'joined'; readonly token: string }
  | { readonly kind: 'failed'; readonly why: string }
  | { readonly kind: 'gathered'; readonly round: number; readonly values: unknown[] }
  | { readonly kind: 'message'; readonly process: number; readonly message: unknown };

/** The other way. */
export type ControlOrder =
  | { readonly kind: 'gather'; readonly round: number; readonly value: unknown }
  | { readonly kind: 'message'; readonly process: number; readonly message: unknown }
  | { readonly kind: 'fail'; readonly why: string }
  | { readonly kind: 'leave' };

/** `process 1 (ranks 2 and 3) at 10.0.0.2` */
export function describeProcess({ rank, ranks }: ControlSetup, host: string): string {
  return `process ${rank}${ranks === '' ? '' : ` (${ranks})`} at ${host}`;
}

/** Of facts that other files are no remedy for. */
const remedies: Readonly<Record<string, string>> = {
  'instruction set': 'set COMPRESS_DISTILL_ISA to one that all machines have (`compress-distill doctor` lists them)',
};

/** What keeps `theirs` from working with `ours`, process 0's; null: nothing. */
export function mismatch(ours: ControlSetup, theirs: ControlSetup, host: string): string | null {
  const who = describeProcess(theirs, host);
  if (theirs.size !== ours.size)
    return `Expected the same WORLD_SIZE on every process but process 0 has ${ours.size} and ${who} has ${theirs.size}; start all with the number of processes`;
  for (const [name, value] of Object.entries(ours.facts)) {
    if (theirs.facts[name] === value) continue;
    return `Expected the same ${name} on every process but process 0 has ${value} and ${who} has ${theirs.facts[name] ?? 'none'}; ${remedies[name] ?? 'start all from the same files'}`;
  }
  return null;
}

/** Several implementations of one thing, run in turn. */
import { setTimeout as sleep } from 'node:timers/promises';
import { PeerUnavailable } from '../../src/bench/peer.js';

/** How often somebody who works for long is heard of. */
const secondsBetweenLines = 15;

/** Idle threads of who ran before spin for a while; nobody shall be measured beside them. */
const settleMilliseconds = 200;

export interface Contender {
  readonly name: string;
  /** How far it is, for whoever waits. */
  state?(): string;
  stop(): Promise<void>;
}

/** Those that could be started, and why the others could not. */
export interface Contest<C extends Contender> {
  readonly contenders: readonly C[];
  readonly absent: readonly { readonly name: string; readonly reason: string }[];
}

export type Starts<C> = Readonly<Record<string, () => Promise<C>>>;

/**
 * Starts each; one that is not installed is left out with its reason.
 * @param wanted `all`, `none` or names of `starts` with commas between.
 */
export async function startContest<C extends Contender>(starts: Starts<C>, wanted: string): Promise<Contest<C>> {
  const names = wanted === 'all' ? Object.keys(starts) : wanted === 'none' ? [] : wanted.split(',');
  const contenders: C[] = [];
  const absent: { name: string; reason: string }[] = [];
  try {
    for (const name of names) {
      const start = starts[name];
      if (!start)
        throw new Error(
          `Expected peers among ${Object.keys(starts).join(', ')} (or all, or none) but received '${name}'`,
        );
      try {
        progress(`starting ${name}`);
        contenders.push(await start());
      } catch (error) {
        if (!(error instanceof PeerUnavailable)) throw error;
        progress(`no ${name}: ${error.message}`);
        absent.push({ name, reason: error.message });
      }
    }
  } catch (error) {
    for (const contender of contenders) await contender.stop();
    throw error;
  }
  return { contenders, absent };
}

/** Runs everybody once a round, so that what changes on the machine meets all of them. @returns by contender, round by round. */
export async function takeTurns<C extends Contender, R>(
  contenders: readonly C[],
  rounds: number,
  run: (contender: C, round: number) => Promise<R>,
): Promise<R[][]> {
  const results = contenders.map((): R[] => []);
  for (let round = 0; round < rounds; round++) {
    for (const [index, contender] of contenders.entries()) {
      await sleep(settleMilliseconds);
      const begin = performance.now();
      const report = (end: string): void => {
        const seconds = (performance.now() - begin) / 1000;
        progress(`round ${round + 1} of ${rounds}: ${contender.name}, ${seconds.toFixed(1)} s${end}`);
      };
      const clock = setInterval(
        () => report(` so far${contender.state ? `: ${contender.state()}` : ''}`),
        1000 * secondsBetweenLines,
      );
      try {
        results[index]!.push(await run(contender, round));
      } finally {
        clearInterval(clock);
      }
      report('');
    }
  }
  return results;
}

export function absenceNotes({ absent }: Contest<Contender>): string[] {
  return absent.map(({ name, reason }) => `No ${name}: ${reason}`);
}

export function progress(line: string): void {
  console.error(line);
}

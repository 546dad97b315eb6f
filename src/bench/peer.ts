/**
 * Another implementation, in a process of its own, so that neither's threads, memory or crashes are the other's. It is asked
 * over its standard input and answers over its standard output, a line of JSON each, and computes only while it is asked.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { packageRoot } from '../native.js';

/** Why there is nothing to compare with, in one line. */
export class PeerUnavailable extends Error {}

/** Where the peers' programs lie, and their README with how to install what they need. */
export const peersFolder: string = join(packageRoot, 'benchmarks', 'peers');

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

export class Peer {
  #name = '';
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  #waiting: Waiting | null = null;
  #lastLine = '';
  #exited = false;

  /**
   * @param command an interpreter, and its arguments: the program of {@link peersFolder} first.
   * @param env variables beside this process's own.
   * @throws PeerUnavailable when it cannot be started or does not say what it is.
   */
  static async start(command: readonly [string, ...string[]], env: NodeJS.ProcessEnv = {}): Promise<Peer> {
    const [file, program, ...args] = command;
    const child = spawn(file, [join(peersFolder, program!), ...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    const peer = new Peer(child);
    try {
      peer.#name = await peer.ask<string>({ task: 'name' });
    } catch (error) {
      await peer.stop();
      throw error instanceof PeerUnavailable ? error : new PeerUnavailable((error as Error).message, { cause: error });
    }
    return peer;
  }

  private constructor(child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.#child = child;
    createInterface({ input: child.stdout }).on('line', (line) => this.#heard(line));
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (line.trim() !== '') this.#lastLine = line.trim();
    });
    child.stdin.on('error', () => {}); // told by 'close'
    child.on('error', (error) => this.#end(error.message));
    child.on('close', (code, signal) => this.#end(`${child.spawnfile} ended with ${signal ?? `exit code ${code}`}`));
  }

  /** Such as `torch 2.13.0+cpu`. */
  get name(): string {
    return this.#name;
  }

  get ended(): boolean {
    return this.#exited;
  }

  /** @throws PeerUnavailable with the peer's own reason when it cannot do it. */
  ask<T>(request: object): Promise<T> {
    if (this.#waiting) throw new Error('Expected the peer to be asked one thing at a time');
    return new Promise<T>((resolve, reject) => {
      if (this.#exited) return reject(new PeerUnavailable(this.#lastLine || 'it has ended'));
      this.#waiting = { resolve: resolve as (value: unknown) => void, reject };
      this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    });
  }

  async stop(): Promise<void> {
    if (this.#exited) return;
    const closed = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin.end();
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 5000);
    await closed;
    clearTimeout(late);
  }

  #heard(line: string): void {
    if (!line.startsWith('{"answer"') && !line.startsWith('{"error"')) return; // what libraries print
    const waiting = this.#waiting;
    this.#waiting = null;
    const { answer, error } = JSON.parse(line) as { answer?: unknown; error?: string };
    if (error === undefined) waiting?.resolve(answer);
    else waiting?.reject(new PeerUnavailable(error));
  }

  #end(reason: string): void {
    this.#exited = true;
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.reject(new PeerUnavailable(this.#lastLine ? `${reason}: ${this.#lastLine}` : reason));
  }
}

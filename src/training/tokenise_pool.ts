// Threads that tokenise.

import { Worker } from 'node:worker_threads';
import { workerFile } from '../distributed/worker_file.js';
import type { TextOptions } from '../text/text_options.js';
import type { DataFormat } from './data_format.js';
import { LineError, type TokenisedLines } from './tokenise.js';
import type { TokeniseAnswer } from './tokenise_worker.js';

/** What a thread starts with. */
export interface TokeniseSetup {
  /** Path of the model whose tokenizer and chat template to use. */
  readonly model: string;
  /** What is changed about them. */
  readonly text: TextOptions;
  readonly format: DataFormat;
  readonly keepData: boolean;
}

interface Task {
  readonly bytes: Uint8Array<ArrayBuffer>;
  resolve(lines: TokenisedLines): void;
  reject(error: Error): void;
}

export class TokenisePool {
  readonly size: number;
  readonly #workers: Worker[];
  readonly #idle: Worker[];
  readonly #tasks: Task[] = [];
  #failure: Error | null = null;

  constructor(size: number, setup: TokeniseSetup) {
    this.size = size;
    this.#workers = Array.from({ length: size }, () => this.#start(setup));
    this.#idle = [...this.#workers];
  }

  /** Gives the lines to the next thread that is free. @throws {LineError} as `tokeniseLines` does */
  tokenise(bytes: Uint8Array<ArrayBuffer>): Promise<TokenisedLines> {
    return new Promise((resolve, reject) => {
      this.#tasks.push({ bytes, resolve, reject });
      this.#dispatch();
    });
  }

  /** Ends the threads, whatever they are doing. */
  async close(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #start(setup: TokeniseSetup): Worker {
    const worker = new Worker(workerFile('src/training/tokenise_worker'), { workerData: setup });
    const fail = (error: Error) => {
      this.#failure ??= error;
      for (const { reject } of this.#tasks.splice(0)) reject(this.#failure);
    };
    worker.on('error', fail);
    worker.on('exit', (code) => fail(new Error(`A thread that tokenises ended early with code ${code}`)));
    return worker;
  }

  #dispatch(): void {
    if (this.#failure) for (const { reject } of this.#tasks.splice(0)) reject(this.#failure);
    while (this.#tasks.length > 0 && this.#idle.length > 0) {
      const worker = this.#idle.pop()!;
      const { bytes, resolve, reject } = this.#tasks.shift()!;
      const failed = () => reject(this.#failure!);
      worker.once('message', (answer: TokeniseAnswer) => {
        worker.off('exit', failed);
        this.#idle.push(worker);
        if ('rows' in answer) resolve(answer);
        else reject(answer.line === null ? new Error(answer.message) : new LineError(answer.line, answer.message));
        this.#dispatch();
      });
      worker.once('exit', failed);
      worker.postMessage(bytes, [bytes.buffer]);
    }
  }
}

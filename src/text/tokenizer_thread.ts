/** A model's tokenizer and chat template in a thread of their own, for prompts so long that the event loop would stand still. */
import { Worker } from 'node:worker_threads';
import { workerFile } from '../distributed/worker_file.js';
import type { Prompt } from './prompt_encoder.js';
import type { TextOptions } from './text_options.js';

/** What the thread starts with. */
export interface TokenizerSetup {
  readonly model: string;
  readonly text: TextOptions;
}

export interface TokenizerTask {
  readonly id: number;
  readonly prompt: Prompt;
}

export type TokenizerAnswer = { readonly id: number } & ({ readonly tokens: number[] } | { readonly error: string });

interface Waiting {
  readonly prompt: Prompt;
  /** Threads that ended with it. */
  ended: number;
  resolve(tokens: number[]): void;
  reject(error: Error): void;
}

/** A thread that ends may have been ended by another prompt, or from outside; one that takes two of them along is at fault. */
const mostEnded = 2;

export class TokenizerThread {
  readonly #setup: TokenizerSetup;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #tasks = 0;

  /**
   * The thread starts with the first prompt.
   *
   * @param model folder or file that has the tokenizer
   * @param text what is changed about it
   */
  constructor(model: string, text: TextOptions = {}) {
    this.#setup = { model, text };
  }

  /** @throws Error when tokenizer or template fail, or threads end with the prompt again and again */
  encode(prompt: Prompt): Promise<number[]> {
    const id = this.#tasks++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { prompt, ended: 0, resolve, reject });
      this.#post(id, prompt);
    });
  }

  #post(id: number, prompt: Prompt): void {
    this.#worker ??= this.#start();
    this.#worker.ref(); // the process stays for an answer, and for nothing else
    this.#worker.postMessage({ id, prompt } satisfies TokenizerTask);
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    if (worker !== null) this.#end(worker, new Error('The thread of the tokenizer has ended'), 0);
    await worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(workerFile('src/text/tokenizer_worker'), { workerData: this.#setup });
    worker.on('message', (answer: TokenizerAnswer) => {
      const { resolve, reject } = this.#waiting.get(answer.id)!;
      this.#waiting.delete(answer.id);
      if (this.#waiting.size === 0) worker.unref();
      if ('tokens' in answer) resolve(answer.tokens);
      else reject(new Error(answer.error));
    });
    worker.on('error', (error) => this.#end(worker, error));
    worker.on('exit', () => this.#end(worker, new Error('The thread of the tokenizer has ended')));
    return worker;
  }

  #end(worker: Worker, error: Error, most = mostEnded): void {
    if (this.#worker !== worker) return; // known already, and perhaps another one is at work
    this.#worker = null;
    for (const [id, waiting] of [...this.#waiting]) {
      if (++waiting.ended < most) {
        this.#post(id, waiting.prompt);
        continue;
      }
      this.#waiting.delete(id);
      waiting.reject(error);
    }
  }
}

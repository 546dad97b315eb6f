/** A model's tokenizer in a thread of its own, for texts so long that the event loop would stand still. */
import { Worker } from 'node:worker_threads';
import { workerFile } from '../distributed/worker_file.js';

export interface TokenizerTask {
  readonly id: number;
  readonly text: string;
  readonly addSpecialTokens: boolean;
}

export type TokenizerAnswer = { readonly id: number } & ({ readonly tokens: number[] } | { readonly error: string });

interface Waiting {
  resolve(tokens: number[]): void;
  reject(error: Error): void;
}

export class TokenizerThread {
  readonly #model: string;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | null = null;
  #tasks = 0;

  /** @param model folder or file that has the tokenizer; the thread starts with the first text. */
  constructor(model: string) {
    this.#model = model;
  }

  /** @throws Error when the tokenizer fails or the thread ends */
  encode(text: string, { addSpecialTokens = true }: { addSpecialTokens?: boolean } = {}): Promise<number[]> {
    this.#worker ??= this.#start();
    const worker = this.#worker;
    const id = this.#tasks++;
    worker.ref(); // the process stays for an answer, and for nothing else
    worker.postMessage({ id, text, addSpecialTokens } satisfies TokenizerTask);
    return new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
  }

  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(workerFile('src/text/tokenizer_worker'), { workerData: this.#model });
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

  #end(worker: Worker, error: Error): void {
    if (this.#worker !== worker) return; // known already, and perhaps another one is at work
    this.#worker = null;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

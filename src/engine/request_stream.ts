import type { Completion } from './completion.js';
import type { GenerateRequest } from './prompt.js';

/** A completion, to be made when it is taken, and the place of its request in the input. */
export interface Result {
  readonly position: number;
  readonly make: () => Completion;
}

export type RequestSource = Iterable<GenerateRequest> | AsyncIterable<GenerateRequest>;

/**
 * One call of `generate`: requests come in no faster than results are taken out, so memory stays bounded however long the input is.
 * `Live` is what the server keeps of a request that it works on.
 */
export class RequestStream<Live> {
  /** Requests of this stream that are worked on. */
  readonly live = new Set<Live>();
  /** Requests pulled. */
  pulled = 0;
  /** Samples pulled whose results have not been taken. */
  outstanding = 0;
  /** Set when the input was read to its end. */
  inputDone = false;
  /** Set when no further input is wanted. */
  closed = false;
  /** Set when what is live is to end as well. */
  aborted = false;
  /** Set when reading the input failed. */
  failure: { readonly error: unknown } | null = null;

  private readonly iterator: Iterator<GenerateRequest> | AsyncIterator<GenerateRequest>;
  private readonly lookAhead: number;
  private readonly results: Result[] = [];
  private readonly consumer = new Signal();
  private readonly feeder = new Signal();

  /** @param lookAhead outstanding samples from which on no further request is pulled. */
  constructor(source: RequestSource, lookAhead: number) {
    this.lookAhead = lookAhead;
    this.iterator =
      Symbol.asyncIterator in source
        ? source[Symbol.asyncIterator]()
        : (source as Iterable<GenerateRequest>)[Symbol.iterator]();
  }

  /** The next request once there is room for it; null at the end of the input or when the stream was closed. */
  async pull(): Promise<{ readonly request: GenerateRequest } | null> {
    while (!this.closed && this.outstanding >= this.lookAhead) await this.feeder.wait();
    if (this.closed) return null;
    try {
      const next = await this.iterator.next();
      if (this.closed) return null;
      if (!next.done) {
        this.pulled++;
        return { request: next.value };
      }
      this.inputDone = true;
    } catch (error) {
      this.failure = { error };
    }
    this.closed = true;
    this.consumer.notify();
    return null;
  }

  /** Adds a result. The consumer hears of it with `notify`. */
  push(result: Result): void {
    this.results.push(result);
  }

  notify(): void {
    this.consumer.notify();
  }

  /** The next result; null when there will be none. */
  async next(): Promise<Result | null> {
    while (this.results.length === 0) {
      if (this.closed && this.live.size === 0) return null;
      await this.consumer.wait();
    }
    this.outstanding--;
    this.feeder.notify();
    return this.results.shift()!;
  }

  /** Resolves when nothing is live any more. */
  async settled(): Promise<void> {
    while (this.live.size > 0) await this.consumer.wait();
  }

  /** Stops the input and has the engine end what is live. */
  abort(): void {
    this.aborted = true;
    this.close();
  }

  /** Stops the input. What is live goes on. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.feeder.notify();
    this.consumer.notify();
    // A source that waits for something may never answer; nobody waits for it here. One that aborts while it is asked throws at once.
    (async () => this.iterator.return?.())().catch(() => {});
  }
}

/** Lets one waiter sleep until it is notified. A notification with nobody waiting is remembered. */
class Signal {
  private pending = false;
  private resolve: (() => void) | null = null;

  notify(): void {
    this.pending = true;
    this.resolve?.();
    this.resolve = null;
  }

  async wait(): Promise<void> {
    if (!this.pending) {
      await new Promise<void>((resolve) => {
        this.resolve = resolve;
      });
    }
    this.pending = false;
  }
}

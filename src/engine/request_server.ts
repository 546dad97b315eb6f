import type { Completion } from './completion.js';
import type { EngineStoppedError } from './errors.js';
import type { GenerateRequest } from './prompt.js';
import { type RequestSource, RequestStream, type Result } from './request_stream.js';
import type { SamplingParams } from './sampling_params.js';
import type { EngineStatistics } from './statistics.js';

export interface GenerateOptions {
  /** Ends what is unfinished with `aborted`; no further input is read. */
  readonly signal?: AbortSignal;
}

/** What completes requests: an engine, or several replicas of one. `Live` is what it keeps of a request that it works on. */
export abstract class RequestServer<Live> {
  protected readonly streams = new Set<RequestStream<Live>>();
  protected stopped: EngineStoppedError | null = null;
  /** Samples that one `generate` call has outstanding before it stops reading its input. */
  protected abstract readonly lookAhead: number;

  /** Takes in the requests of a stream until it is closed; their results are pushed to it. */
  protected abstract feed(stream: RequestStream<Live>): Promise<void>;

  abstract statistics(): EngineStatistics;

  /** What memory goes where, for the user to read at start. */
  abstract startupReport(): string;

  /** Ends what is unfinished with `aborted` and gives back what was taken at the start. */
  abstract close(): Promise<void>;

  /**
   * Completes requests, yielding each sample when it has finished. Input is read as results are taken. A request that is not possible
   * is yielded with finishReason `error` and its reason; the others go on.
   *
   * @throws EngineStoppedError when the engine was closed, or failed before all input was read; and what the input throws.
   */
  async *generate(requests: RequestSource, options: GenerateOptions = {}): AsyncGenerator<Completion, void, undefined> {
    for await (const { make } of this.results(requests, options)) yield make();
  }

  /**
   * All completions at once, in the order of the prompts, then of the samples.
   *
   * @param prompts requests, or bare prompts, which get their place as id.
   * @param sampling for all; a request's own parameters take precedence.
   */
  async generateAll(
    prompts: Iterable<GenerateRequest | string | readonly number[]>,
    sampling: Partial<SamplingParams> = {},
    options: GenerateOptions = {},
  ): Promise<Completion[]> {
    const completions: [position: number, completion: Completion][] = [];
    for await (const { position, make } of this.results(asRequests(prompts, sampling), options)) {
      completions.push([position, make()]);
    }
    completions.sort(([i, a], [j, b]) => i - j || a.index - b.index);
    return completions.map(([, completion]) => completion);
  }

  /** Has what is live of a stream end with `aborted`. */
  protected abort(stream: RequestStream<Live>): void {
    stream.abort();
  }

  private async *results(source: RequestSource, { signal }: GenerateOptions): AsyncGenerator<Result, void, undefined> {
    if (this.stopped !== null) throw this.stopped;
    const stream = new RequestStream<Live>(source, this.lookAhead);
    const abort = (): void => this.abort(stream);
    this.streams.add(stream);
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
    try {
      void this.feed(stream);
      for (let result = await stream.next(); result !== null; result = await stream.next()) yield result;
      if (stream.failure !== null) throw stream.failure.error;
      if (this.stopped !== null && !stream.inputDone && !signal?.aborted) throw this.stopped;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.abort(stream); // the consumer may have left early
      await stream.settled();
      this.streams.delete(stream);
    }
  }
}

function* asRequests(
  prompts: Iterable<GenerateRequest | string | readonly number[]>,
  sampling: Partial<SamplingParams>,
): Generator<GenerateRequest> {
  let position = 0;
  for (const prompt of prompts) {
    const id = String(position++);
    const bare = typeof prompt === 'string' || Array.isArray(prompt);
    const request = bare ? ({ id, prompt } as GenerateRequest) : (prompt as GenerateRequest);
    yield { ...request, sampling: { ...sampling, ...request.sampling } };
  }
}

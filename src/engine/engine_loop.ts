import { setImmediate as nextTurn } from 'node:timers/promises';
import { UserError } from '../errors.js';
import { completionOf, refusal } from './completion.js';
import { EngineStoppedError } from './errors.js';
import { type Decoding, OutputText } from './output_text.js';
import { checkRequest, type GenerateRequest } from './prompt.js';
import { type FinishReason, Request, type Sequence, type TokenLogprob } from './request.js';
import { RequestServer } from './request_server.js';
import type { RequestStream } from './request_stream.js';
import { samplingParams } from './sampling_params.js';
import type { Batch, SampledRow, Scheduler } from './scheduler.js';
import { type EngineStatistics, StatisticsCounter } from './statistics.js';
import type { StepOutput, StepRunner } from './step_runner.js';

/** What an engine is put together from; `Engine.create` does it for a loaded model. */
export interface EngineParts {
  readonly scheduler: Scheduler;
  readonly runner: StepRunner;
  /** The tokens of a prompt; throws UserError. */
  readonly encode: (request: GenerateRequest) => Promise<number[]>;
  /** Gives back what `encode` uses. */
  readonly closeEncoder?: () => Promise<void> | undefined;
  /** Null where the model has no tokenizer. */
  readonly decoding: Decoding | null;
  readonly vocabSize: number;
  readonly eosTokenIds: readonly number[];
  readonly maxModelLen: number;
  readonly seed: number;
  /** Samples that one `generate` call has outstanding before it stops reading its input. */
  readonly lookAhead: number;
  /** Whether a step is scheduled and enqueued while the one before it runs. */
  readonly asyncScheduling: boolean;
  /** What keys and values depend on beside tokens; when it changes, everything is recomputed. */
  readonly salt: () => string;
  /** What memory is taken now. */
  readonly memory: () => EngineStatistics['memory'];
  /** What memory goes where. */
  readonly startupReport: string;
}

/** A batch on its way through the device. */
interface Step {
  readonly batch: Batch;
  readonly output: Promise<StepOutput>;
}

/** Whose request it is. */
interface Owner {
  readonly stream: RequestStream<Request>;
  readonly position: number;
}

/**
 * Generates completions for any number of requests at once. Results come as they finish, and a result depends on its request alone:
 * not on what else runs, in which order, or on how prompts are cut.
 */
export class EngineLoop extends RequestServer<Request> {
  private readonly parts: EngineParts;
  private readonly scheduler: Scheduler;
  private readonly eosTokenIds: ReadonlySet<number>;
  private readonly counter = new StatisticsCounter();
  private readonly owners = new Map<Request, Owner>();
  protected readonly lookAhead: number;
  private salt: string;
  /** The steps in progress, while there is something to do. */
  private loop: Promise<void> | null = null;

  constructor(parts: EngineParts) {
    super();
    this.parts = parts;
    this.scheduler = parts.scheduler;
    this.eosTokenIds = new Set(parts.eosTokenIds);
    this.lookAhead = parts.lookAhead;
    this.salt = parts.salt();
  }

  statistics(): EngineStatistics {
    return this.counter.snapshot(this.scheduler, this.parts.memory());
  }

  startupReport(): string {
    return this.parts.startupReport;
  }

  /** @throws Error when the block bookkeeping is inconsistent. */
  checkIntegrity(): void {
    this.scheduler.blocks.checkIntegrity([...this.owners.keys()].flatMap((request) => request.sequences));
  }

  /** Ends what is unfinished with `aborted` and gives the engine's memory back. The model stays. */
  async close(): Promise<void> {
    this.stopped ??= new EngineStoppedError('The engine is closed; create another one');
    for (const stream of this.streams) stream.abort();
    await this.loop;
    await this.parts.runner.dispose();
    await this.parts.closeEncoder?.();
  }

  /** Takes requests in, one per turn of the event loop, so that tokenising never holds up a step that is ready. */
  protected async feed(stream: RequestStream<Request>): Promise<void> {
    for (let next = await stream.pull(); next !== null; next = await stream.pull()) {
      await this.admit(next.request, { stream, position: stream.pulled - 1 });
      await nextTurn();
    }
  }

  private async admit(input: GenerateRequest, owner: Owner): Promise<void> {
    const { stream, position } = owner;
    let samples = 1;
    let promptTokens = 0;
    try {
      checkRequest(input);
      const sampling = samplingParams(input.sampling, this.parts.vocabSize);
      samples = sampling.n;
      const prompt = await this.parts.encode(input);
      if (stream.closed) return; // aborted meanwhile, or the engine has stopped
      promptTokens = prompt.length;
      this.checkLength(promptTokens);
      const { maxModelLen: maxLength, seed: engineSeed } = this.parts;
      const request = new Request({ id: input.id, prompt, sampling, maxLength, engineSeed, salt: this.salt });
      this.start(request, owner);
    } catch (error) {
      if (stream.closed) return;
      const reason = error instanceof Error ? error.message : String(error);
      const id = typeof input?.id === 'string' ? input.id : String(position);
      for (let index = 0; index < samples; index++) {
        const refused = refusal(id, index, promptTokens, reason);
        stream.push({ position, make: () => refused });
        this.counter.countFinished('error');
      }
      stream.outstanding += samples;
      stream.notify();
    }
  }

  private checkLength(promptTokens: number): void {
    const { maxModelLen } = this.parts;
    if (promptTokens < maxModelLen) return;
    throw new UserError(
      `Expected a prompt of at most ${maxModelLen - 1} tokens (the context holds ${maxModelLen}) but received ${promptTokens}; shorten it`,
    );
  }

  private start(request: Request, owner: Owner): void {
    const { stop } = request.sampling;
    const { decoding } = this.parts;
    if (stop.length > 0) {
      if (decoding === null)
        throw new UserError("The model has no tokenizer to find 'stop' strings with; use 'stopTokenIds'");
      for (const sequence of request.sequences) sequence.text = new OutputText(decoding.createStream(), stop);
    }
    this.owners.set(request, owner);
    owner.stream.live.add(request);
    owner.stream.outstanding += request.sequences.length;
    this.scheduler.add(request);
    this.loop ??= this.run();
  }

  /** Steps for as long as there is something to do. */
  private async run(): Promise<void> {
    try {
      await this.gather();
      let ahead: Step | null = null;
      while (!this.scheduler.isIdle || ahead !== null) {
        ahead = await this.step(ahead);
        this.endAborted();
      }
    } catch (error) {
      this.fail(error);
    }
    this.loop = null;
    this.notify();
  }

  /** What is there at once starts together: waits as long as requests keep coming in, until they fill a step. */
  private async gather(): Promise<void> {
    const { waiting, config } = this.scheduler;
    for (let before = 0; waiting.length > before && waiting.length < config.maxNumSeqs; ) {
      before = waiting.length;
      await nextTurn();
      await nextTurn(); // a request is taken in once a turn, before or after this one's
    }
  }

  /**
   * Schedules and enqueues one step, and commits one: the same, or with asynchronous scheduling the one before, which has been running
   * meanwhile. What ends a sequence is then seen a step late: what that step computes for it is of no use to anybody.
   *
   * @param previous enqueued and not committed.
   * @returns what is enqueued and not committed now.
   */
  private async step(previous: Step | null): Promise<Step | null> {
    const start = performance.now();
    this.recomputeIfSaltChanged();
    const batch = this.scheduler.schedule();
    const scheduled = performance.now();
    const next = this.forward(batch);
    const enqueued = performance.now();
    this.notify(); // what has finished becomes text while this one runs
    if (previous !== null && next !== null) this.counter.countOverlap();
    const [due, left] = this.parts.asyncScheduling ? [previous, next] : [next, null];
    const output = await due?.output;
    const computed = performance.now();
    if (due !== null) this.commit(due.batch, output!);
    const end = performance.now();
    this.counter.countTimes({
      seconds: (end - start) / 1000,
      overheadSeconds: (enqueued - start + end - computed) / 1000,
      idleSeconds: ((previous === null ? scheduled - start : 0) + (left === null ? end - computed : 0)) / 1000,
    });
    return left;
  }

  private forward(batch: Batch): Step | null {
    if (batch.tokens === 0) return null;
    const output = this.parts.runner.forward(batch);
    output.catch(() => {}); // it is heard of when the step is due, or the step before has failed as well
    return { batch, output };
  }

  private commit(batch: Batch, output: StepOutput): void {
    let accepted = 0;
    let late = 0;
    for (const [r, row] of batch.sampled.entries()) {
      if (row.sequence.status === 'finished') late++;
      else if (this.take(row, r, output)) accepted++;
    }
    this.counter.countStep(batch, output.recorded ?? false, accepted, late);
  }

  /** Gives a sequence its token, number `r` of the step's. False: there is none. */
  private take(row: SampledRow, r: number, output: StepOutput): boolean {
    const { sequence } = row;
    const token = output.tokens[r]!;
    if (token < 0) {
      this.finish(sequence, 'error', 'The logits hold NaN or infinity, or no token is allowed');
      return false;
    }
    this.scheduler.accept(row, token);
    sequence.logprobs?.push(tokenLogprob(output, r, sequence.request.sampling.logprobs!));
    const reason = this.finishReason(sequence, token);
    if (reason !== null) this.finish(sequence, reason);
    return true;
  }

  /** Whether the sequence ends with `token`, its last one. */
  private finishReason(sequence: Sequence, token: number): FinishReason | null {
    const { minTokens, ignoreEos, stopTokenIds } = sequence.request.sampling;
    const mayStop = sequence.outputLength >= minTokens;
    if (mayStop && ((!ignoreEos && this.eosTokenIds.has(token)) || stopTokenIds.includes(token))) {
      sequence.endedByToken = true;
      return 'stop';
    }
    if (sequence.text?.push(token, mayStop)) return 'stop';
    return sequence.length === sequence.maxLength ? 'length' : null;
  }

  private finish(sequence: Sequence, reason: FinishReason, error: string | null = null): void {
    const { request } = sequence;
    const { stream, position } = this.owners.get(request)!;
    this.scheduler.finish(sequence, reason, error);
    this.counter.countFinished(reason);
    stream.push({ position, make: () => completionOf(sequence, this.parts.decoding) });
    if (request.sequences.some(({ status }) => status !== 'finished')) return;
    this.owners.delete(request);
    stream.live.delete(request);
  }

  /** Lets consumers take what has finished. */
  private notify(): void {
    for (const stream of this.streams) stream.notify();
  }

  /** Ends what belongs to aborted streams. Between steps only, so that no step in progress loses its sequences. */
  private endAborted(): void {
    for (const stream of this.streams) {
      if (!stream.aborted) continue;
      for (const request of [...stream.live]) this.finishAll(request, 'aborted');
    }
  }

  private finishAll(request: Request, reason: FinishReason, error: string | null = null): void {
    for (const sequence of request.sequences) {
      if (sequence.status !== 'finished') this.finish(sequence, reason, error);
    }
  }

  /** A step failed: nothing on the device can be trusted any more. */
  private fail(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const message = `The engine stopped because a forward pass failed: ${reason}`;
    this.stopped ??= new EngineStoppedError(message, { cause: error });
    for (const request of [...this.owners.keys()]) this.finishAll(request, 'error', message);
    this.scheduler.blocks.clearCache();
    for (const stream of this.streams) stream.close();
    void this.parts.runner.dispose();
  }

  private recomputeIfSaltChanged(): void {
    const salt = this.parts.salt();
    if (salt === this.salt) return;
    this.salt = salt;
    this.scheduler.invalidate(salt);
  }
}

function tokenLogprob(output: StepOutput, row: number, top: number): TokenLogprob {
  const entry = { token: output.tokens[row]!, logprob: output.logprobs![row]! };
  if (top === 0) return entry;
  const first = row * output.topCount;
  const alternatives = Array.from({ length: top }, (_, i) => ({
    token: output.topTokens![first + i]!,
    logprob: output.topLogprobs![first + i]!,
  }));
  return { ...entry, top: alternatives };
}

import { describe, expect, it } from 'vitest';
import { BlockManager } from '../../src/engine/block_manager.js';
import { Request, type Sequence } from '../../src/engine/request.js';
import { type SamplingParams, samplingParams } from '../../src/engine/sampling_params.js';
import { type Chunk, Scheduler, type SchedulerConfig } from '../../src/engine/scheduler.js';
import { FakeRunner, nextToken, seededIntegers } from './fake_runner.js';

const BLOCK = 4;
const CONTEXT = 64;

function request(id: string, prompt: number[], sampling: Partial<SamplingParams> = {}): Request {
  return new Request({ id, prompt, sampling: samplingParams(sampling), maxLength: CONTEXT });
}

function scheduler(config: Partial<SchedulerConfig> = {}, blocks = 64, prefixCaching = true): Scheduler {
  const full = { maxNumSeqs: 8, maxNumBatchedTokens: 16, maxPrefillChunk: 16, invariant: false, ...config };
  return new Scheduler(full, new BlockManager(blocks, BLOCK, prefixCaching));
}

const count = (from: number, length: number) => Array.from({ length }, (_, i) => from + i);
const shape = (batch: ReturnType<Scheduler['schedule']>) =>
  batch.chunks.map(({ sequence, start, count }) => [sequence.request.id, sequence.index, start, count]);

/** One step with a model that always answers `token`. */
function step(engine: Scheduler, token = 1): ReturnType<Scheduler['schedule']> {
  const batch = engine.schedule();
  for (const row of batch.sampled) engine.accept(row, token);
  return batch;
}

describe('Scheduler', () => {
  it('cuts prompts into chunks within the budget and puts decodes first', () => {
    const engine = scheduler();
    engine.add(request('a', count(0, 6)));
    engine.add(request('b', count(100, 20)));
    engine.add(request('c', count(200, 3)));
    const first = step(engine);
    expect(shape(first)).toEqual([
      ['a', 0, 0, 6],
      ['b', 0, 0, 10],
    ]);
    expect(first.sampled.map(({ sequence, row }) => [sequence.request.id, row])).toEqual([['a', 5]]);
    const second = step(engine);
    expect(shape(second)).toEqual([
      ['a', 0, 6, 1],
      ['b', 0, 10, 10],
      ['c', 0, 0, 3],
    ]);
    expect(second.sampled.map(({ row }) => row)).toEqual([0, 10, 13]);
    expect(second.tokens).toBe(14);
  });

  it('keeps chunks of one sequence within maxPrefillChunk', () => {
    const engine = scheduler({ maxPrefillChunk: 5 });
    engine.add(request('a', count(0, 12)));
    expect([step(engine), step(engine), step(engine)].map((batch) => batch.chunks[0]!.count)).toEqual([5, 5, 2]);
  });

  it('cuts prompts where blocks end, whatever the budget, when results are to be invariant', () => {
    const engine = scheduler({ invariant: true, maxNumBatchedTokens: 11 });
    engine.add(request('a', count(0, 9)));
    engine.add(request('b', count(100, 14)));
    const shapes = Array.from({ length: 6 }, () => shape(step(engine)));
    expect(shapes).toEqual([
      [['a', 0, 0, 8]], // the last token on its own, and no room for a block of b
      [['a', 0, 8, 1], ['b', 0, 0, 8]],
      [['a', 0, 9, 1], ['b', 0, 8, 6]],
      [['a', 0, 10, 1], ['b', 0, 14, 1]],
      [['a', 0, 11, 1], ['b', 0, 15, 1]],
      [['a', 0, 12, 1], ['b', 0, 16, 1]],
    ]); // biome-ignore format: steps
  });

  it('shares blocks of prompts only, and computes output anew token by token, when results are to be invariant', () => {
    const engine = scheduler({ invariant: true }, 8);
    const first = request('a', count(0, 6));
    engine.add(first);
    for (let i = 0; i < 8; i++) step(engine);
    expect(first.sequences[0]!.length).toBe(14);
    engine.add(request('b', [...count(0, 6), ...first.sequences[0]!.output(), 1]));
    expect(shape(step(engine))).toEqual([
      ['a', 0, 13, 1],
      ['b', 0, 4, 11],
    ]);
    engine.invalidate('other weights');
    expect(shape(step(engine))).toEqual([['a', 0, 0, 6]]); // b waits for the block that both begin with
    expect(shape(step(engine))[0]).toEqual(['a', 0, 6, 1]);
  });

  it('runs at most maxNumSeqs sequences, first come first served', () => {
    const engine = scheduler({ maxNumSeqs: 2 });
    const requests = ['a', 'b', 'c'].map((id) => request(id, [1, 2]));
    for (const one of requests) engine.add(one);
    step(engine);
    expect(engine.running.map((s) => s.request.id)).toEqual(['a', 'b']);
    engine.finish(requests[0]!.sequences[0]!, 'stop');
    step(engine);
    expect(engine.running.map((s) => s.request.id)).toEqual(['b', 'c']);
  });

  it('computes a prompt once for all its samples', () => {
    const engine = scheduler();
    const three = request('a', count(0, 6), { n: 3 });
    engine.add(three);
    const batch = engine.schedule();
    expect(shape(batch)).toEqual([['a', 0, 0, 6]]);
    expect(batch.sampled.map(({ sequence, row }) => [sequence.index, row])).toEqual([
      [0, 5],
      [1, 5],
      [2, 5],
    ]);
    batch.sampled.forEach((row, i) => {
      engine.accept(row, i);
    });
    expect(engine.blocks.usedBlocks).toBe(2);
    const next = step(engine);
    expect(shape(next)).toEqual([
      ['a', 0, 6, 1],
      ['a', 1, 6, 1],
      ['a', 2, 6, 1],
    ]);
    expect(next.copies).toHaveLength(2); // three writers of one partial block
    expect(engine.blocks.usedBlocks).toBe(4);
    engine.blocks.checkIntegrity(engine.running);
  });

  it('lets samples without a seat come later', () => {
    const engine = scheduler({ maxNumSeqs: 2 });
    const five = request('a', count(0, 9), { n: 5 });
    engine.add(five);
    step(engine);
    expect(engine.running.map((s) => s.index)).toEqual([0, 1]);
    expect(engine.waiting.map((s) => s.index)).toEqual([2, 3, 4]);
    engine.finish(five.sequences[0]!, 'stop');
    const batch = step(engine);
    expect(shape(batch)).toEqual([
      ['a', 1, 9, 1],
      ['a', 2, 8, 1],
    ]); // two blocks came from the prefix cache
    expect(engine.blocks.hitTokens).toBe(8);
  });

  describe('when prompts that start alike come together', () => {
    const prefix = count(0, 12);
    const alike = (id: string, own: number) => request(id, [...prefix, own, own + 1]);

    it('computes the common prefix once, and lets others pass those who wait for it', () => {
      const engine = scheduler({ maxNumBatchedTokens: 10 });
      for (const one of [alike('a', 20), alike('b', 30), alike('c', 40), request('other', [7, 8])]) engine.add(one);
      expect(shape(step(engine))).toEqual([['a', 0, 0, 10]]);
      engine.blocks.checkIntegrity(engine.running);
      expect(shape(step(engine))).toEqual([
        ['a', 0, 10, 4],
        ['other', 0, 0, 2],
      ]);
      expect(shape(step(engine))).toEqual([
        ['a', 0, 14, 1],
        ['other', 0, 2, 1],
        ['b', 0, 12, 2],
        ['c', 0, 12, 2],
      ]);
      expect(engine.blocks.hitTokens).toBe(24);
      engine.blocks.checkIntegrity(engine.running);
    });

    it('waits no longer for one that fails', () => {
      const engine = scheduler({ maxNumBatchedTokens: 20 });
      const [bad, good] = [alike('bad', 20), alike('good', 30)];
      engine.add(bad);
      engine.add(good);
      const batch = engine.schedule();
      expect(shape(batch)).toEqual([['bad', 0, 0, 14]]);
      engine.finish(bad.sequences[0]!, 'error', 'NaN');
      engine.blocks.checkIntegrity([]);
      expect(shape(step(engine))).toEqual([['good', 0, 0, 14]]); // nothing of what failed is shared
      expect(engine.blocks.hitTokens).toBe(0);
    });

    it('does not wait long for little', () => {
      const engine = scheduler({ maxNumBatchedTokens: 40, maxPrefillChunk: 40 });
      engine.add(request('long', count(0, 25)));
      engine.add(request('short', [...prefix, 30]));
      expect(shape(step(engine))).toEqual([
        ['long', 0, 0, 25],
        ['short', 0, 0, 13],
      ]);
    });

    it('does not wait where prompts are scored or the prefix cache is off', () => {
      const off = scheduler({ maxNumBatchedTokens: 40 }, 64, false);
      const scored = scheduler({ maxNumBatchedTokens: 40 });
      for (const own of [20, 30]) {
        off.add(alike(`${own}`, own));
        scored.add(request(`${own}`, [...prefix, own], { promptLogprobs: true }));
      }
      expect([step(off), step(scored)].map((batch) => batch.chunks.length)).toEqual([2, 2]);
    });
  });

  it('preempts the youngest when blocks run out and recomputes it', () => {
    const engine = scheduler({}, 5);
    engine.add(request('old', count(0, 8)));
    engine.add(request('young', count(50, 8)));
    step(engine);
    const batch = step(engine); // both need a third block
    expect(shape(batch)).toEqual([['old', 0, 8, 1]]);
    expect(engine.preemptions).toBe(1);
    expect(engine.waiting.map((s) => [s.request.id, s.status, s.computed])).toEqual([['young', 'waiting', 0]]);
    engine.finish(engine.running[0]!, 'stop');
    expect(shape(step(engine))).toEqual([['young', 0, 8, 1]]); // what it had published is still cached
    engine.blocks.checkIntegrity(engine.running);
  });

  it('takes every seat where there are blocks for every context in full', () => {
    const engine = scheduler({ maxNumBatchedTokens: 1000, maxPrefillChunk: 1000 }, (8 * CONTEXT) / BLOCK, false);
    const requests = Array.from({ length: 8 }, (_, i) => request(`${i}`, count(i, CONTEXT - 2)));
    for (const one of requests) engine.add(one);
    expect(step(engine).chunks).toHaveLength(8);
    expect(engine.blocks.available).toBe(0);
    expect(step(engine).chunks).toHaveLength(8);
    expect(engine.preemptions).toBe(0);
  });

  it('keeps a hundredth of the blocks for the growth of what runs', () => {
    const engine = scheduler({ maxNumBatchedTokens: 100, maxPrefillChunk: 100 }, 200, false);
    const sampling = samplingParams();
    const holder = new Request({ id: 'holder', prompt: count(0, 182 * BLOCK), sampling, maxLength: 1000 });
    engine.blocks.admit(holder.sequences[0]!);
    engine.add(request('a', count(0, 6)));
    engine.add(request('b', count(100, 15 * BLOCK))); // fits, but would leave one block for a's growth
    expect(shape(step(engine)).map(([id]) => id)).toEqual(['a']);
    expect(engine.blocks.available).toBe(16);
  });

  it('recomputes everything under a new salt', () => {
    const engine = scheduler();
    engine.add(request('a', count(0, 8)));
    engine.add(request('b', count(0, 9)));
    step(engine);
    step(engine);
    engine.invalidate('new weights');
    expect(engine.running).toEqual([]);
    expect(engine.blocks.freeBlocks).toBe(64);
    expect(shape(step(engine))[0]).toEqual(['a', 0, 0, 10]);
  });

  it('finishes a sequence in any state', () => {
    const engine = scheduler({ maxNumSeqs: 2 });
    const requests = [request('a', count(0, 6), { n: 3 }), request('b', count(0, 6))];
    for (const one of requests) engine.add(one);
    step(engine);
    for (const one of requests) for (const sequence of one.sequences) engine.finish(sequence, 'aborted');
    expect(engine.isIdle).toBe(true);
    engine.blocks.checkIntegrity([]);
    expect(engine.blocks.usedBlocks).toBe(0);
  });
});

interface Soak {
  config?: Partial<SchedulerConfig>;
  blocks?: number;
  prefixCaching?: boolean;
  aborts?: boolean;
  /** Schedule each step before the one before it is committed. */
  ahead?: boolean;
  seed?: number;
}

/** Ends a sample of the soak. */
const STOP = 11;

/** Random requests with shared prefixes through the scheduler and the fake model, the books checked after every step. */
function soak({ config, blocks = 40, prefixCaching = true, aborts = false, ahead = false, seed = 1 }: Soak) {
  const random = seededIntegers(seed);
  const engine = scheduler(config, blocks, prefixCaching);
  const runner = new FakeRunner(engine.config, blocks, BLOCK);
  const requests: Request[] = [];
  for (let i = 0; i < 60; i++) {
    const prompt = [...count(0, 4 * random(5)), ...Array.from({ length: 1 + random(12) }, () => random(50))];
    requests.push(request(`r${i}`, prompt, { n: 1 + random(4), maxTokens: 1 + random(24) }));
  }
  let added = 0;
  let discarded = 0;
  const commit = ({ batch, output }: Step): void => {
    for (const [r, row] of batch.sampled.entries()) {
      const { sequence } = row;
      if (sequence.status === 'finished') {
        discarded++;
        continue;
      }
      const token = output.tokens[r]!;
      engine.accept(row, token);
      if (token === STOP) engine.finish(sequence, 'stop');
      else if (sequence.length === sequence.maxLength) engine.finish(sequence, 'length');
    }
  };
  type Step = { batch: ReturnType<Scheduler['schedule']>; output: ReturnType<FakeRunner['compute']> };
  let previous: Step | null = null;
  while (added < requests.length || !engine.isIdle || previous !== null) {
    while (added < requests.length && (engine.isIdle || random(3) > 0)) engine.add(requests[added++]!);
    const batch = engine.schedule();
    expect(batch.tokens).toBeLessThanOrEqual(engine.config.maxNumBatchedTokens);
    expect(engine.running.length).toBeLessThanOrEqual(engine.config.maxNumSeqs);
    if (engine.config.invariant) for (const chunk of batch.chunks) expectItsPlace(chunk);
    const next: Step | null = batch.tokens > 0 ? { batch, output: runner.compute(batch) } : null;
    const due: Step | null = ahead ? previous : next;
    if (due !== null) commit(due);
    previous = ahead ? next : null;
    if (aborts && random(8) === 0) {
      const victim = requests[random(added)]!;
      for (const sequence of victim.sequences) engine.finish(sequence, 'aborted');
    }
    engine.blocks.checkIntegrity(requests.flatMap((one) => one.sequences));
  }
  expect(engine.blocks.usedBlocks).toBe(0);
  return { engine, runner, requests, discarded };
}

/** Whether a token is computed on its own or with others follows from where it stands; so does where its chunk may begin and end. */
function expectItsPlace({ sequence: { promptLength }, start, count }: Chunk): void {
  const end = start + count;
  if (start >= promptLength) {
    expect(count).toBe(1);
    return;
  }
  const alone = promptLength % BLOCK === 1 ? promptLength - 1 : -1;
  expect(start % BLOCK).toBe(0);
  expect(end % BLOCK === 0 || end === promptLength).toBe(true);
  expect(count === 1).toBe(start === alone);
  expect(end).toBeLessThanOrEqual(promptLength);
}

function expected(sequence: Sequence): number[] {
  const tokens = Array.from(sequence.tokens.subarray(0, sequence.promptLength));
  while (tokens.length < sequence.maxLength && (tokens.length === sequence.promptLength || tokens.at(-1) !== STOP))
    tokens.push(nextToken(tokens, sequence.seed));
  return tokens.slice(sequence.promptLength);
}

describe.each([false, true])('a soak of scheduler and block manager (a step ahead: %s)', (ahead) => {
  it.each<[string, Soak]>([
    ['plain', {}],
    ['one sequence at a time', { config: { maxNumSeqs: 1 } }],
    ['tiny chunks', { config: { maxPrefillChunk: 1 } }],
    ['large batches', { config: { maxNumSeqs: 32, maxNumBatchedTokens: 500, maxPrefillChunk: 500 }, blocks: 400 }],
    ['no prefix cache', { prefixCaching: false }],
    ['few blocks', { blocks: 16, config: { maxNumSeqs: 8 } }],
    ['few blocks, no prefix cache', { blocks: 16, prefixCaching: false }],
    ['invariant', { config: { invariant: true } }],
    ['invariant, few blocks', { blocks: 16, config: { invariant: true, maxPrefillChunk: 9 } }],
  ])('%s: every sample gets the tokens it would get alone', (_, options) => {
    const { engine, requests, discarded } = soak({ ...options, ahead });
    for (const { sequences } of requests) {
      for (const sequence of sequences) expect(sequence.output()).toEqual(expected(sequence));
    }
    if (options.blocks === 16) expect(engine.preemptions).toBeGreaterThan(10);
    if (options.blocks === 400) expect(engine.preemptions).toBe(0);
    if (options.prefixCaching === false) expect(engine.blocks.hitTokens).toBe(0);
    else expect(engine.blocks.hitTokens).toBeGreaterThan(100);
    if (options.config?.maxNumSeqs !== 1) expect(engine.blocks.copiesOnWrite).toBeGreaterThan(8);
    const stopped = requests.flatMap((one) => one.sequences).filter((sequence) => sequence.finishReason === 'stop');
    expect(stopped.length).toBeGreaterThan(10);
    if (ahead) expect(discarded).toBeGreaterThan(5);
    else expect(discarded).toBe(0);
  });

  it.each([2, 3, 4, 5])('random aborts leak nothing (seed %i)', (seed) => {
    const { requests } = soak({ aborts: true, blocks: 20, seed, ahead });
    const reasons = requests.flatMap((one) => one.sequences.map((sequence) => sequence.finishReason));
    expect(new Set(reasons)).toEqual(new Set(['aborted', 'length', 'stop']));
    for (const { sequences } of requests) {
      for (const sequence of sequences) {
        const output = sequence.output();
        expect(output).toEqual(expected(sequence).slice(0, output.length));
      }
    }
  });
});

import { onTestFinished } from 'vitest';
import { BlockManager } from '../../src/engine/block_manager.js';
import { EngineLoop, type EngineParts } from '../../src/engine/engine_loop.js';
import type { Decoding } from '../../src/engine/output_text.js';
import { encodeRequest } from '../../src/engine/prompt.js';
import { Scheduler, type SchedulerConfig } from '../../src/engine/scheduler.js';
import { PromptEncoder } from '../../src/text/prompt_encoder.js';
import { FAKE_VOCABULARY, FakeRunner } from './fake_runner.js';

export interface FakeEngineOptions extends Partial<SchedulerConfig> {
  blocks?: number;
  parts?: Partial<EngineParts>;
}

/** Token t is the letter a + t mod 26. */
const letter = (token: number): string => String.fromCharCode(97 + (token % 26));
export const letters: Decoding = {
  createStream: () => ({ push: letter, flush: () => '' }),
  decode: (tokens) => tokens.map(letter).join(''),
};

/** What a model without tokenizer and template has. */
const textless = new PromptEncoder({ tokenizer: null, chatTemplate: null });

/** The engine's bookkeeping on a fake model; end of sequence is token 0. Its books are checked once more when the test has ended. */
export function fakeEngine({ blocks = 64, parts, ...config }: FakeEngineOptions = {}) {
  const full: SchedulerConfig = {
    maxNumSeqs: 8,
    maxNumBatchedTokens: 32,
    maxPrefillChunk: 32,
    invariant: false,
    ...config,
  };
  const scheduler = new Scheduler(full, new BlockManager(blocks, 4));
  const runner = new FakeRunner(full, blocks, 4);
  const engine = new EngineLoop({
    scheduler,
    runner,
    encode: (request) => encodeRequest(request, textless, FAKE_VOCABULARY),
    decoding: letters,
    vocabSize: FAKE_VOCABULARY,
    eosTokenIds: [0],
    maxModelLen: 64,
    seed: 0,
    lookAhead: 32,
    asyncScheduling: true,
    salt: () => '',
    memory: () => ({ kvBytes: 0, liveBytes: 0, peakBytes: 0, reservedBytes: 0, scratchBytes: 0 }),
    startupReport: 'fake',
    ...parts,
  });
  onTestFinished(() => {
    engine.checkIntegrity();
    const { used } = engine.statistics().kvBlocks;
    if (used > 0) throw new Error(`${used} blocks are still held`);
  });
  return { engine, runner, scheduler };
}

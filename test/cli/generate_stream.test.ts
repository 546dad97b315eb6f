import { createWriteStream, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { finished } from 'node:stream/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { writeCompletions } from '../../src/cli/generate.js';
import { checkPrompts } from '../../src/cli/prompts.js';
import { RowOutput } from '../../src/cli/row_output.js';
import type { Completion } from '../../src/engine/completion.js';
import type { EngineLoop } from '../../src/engine/engine_loop.js';
import type { Batch } from '../../src/engine/scheduler.js';
import type { StepOutput, StepRunner } from '../../src/engine/step_runner.js';
import { silentProgress } from '../../src/pipeline/progress.js';
import { fakeEngine } from '../engine/fake_engine.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes in the heap and in arrays outside of it. */
function memoryInUse(): number {
  collectGarbage();
  collectGarbage(); // what the first one let go of may be swept behind its back
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

/** Answers at once: every token is 7. */
const quick: StepRunner = {
  async forward({ sampled }: Batch): Promise<StepOutput> {
    await nextTurn();
    const tokens = new Int32Array(sampled.length).fill(7);
    return { tokens, logprobs: null, topTokens: null, topLogprobs: null, topCount: 0 };
  },
  dispose() {},
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'stream-'));
  vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  rmSync(folder, { recursive: true });
});

const total = 100_000;

async function writePrompts(path: string): Promise<void> {
  const file = createWriteStream(path);
  const context = 'x'.repeat(100);
  for (let i = 0; i < total; i++) {
    const room = file.write(`{"id": "question-${i}", "tokens": [1, ${i % 50}, 3], "context": "${context}"}\n`);
    if (!room) await new Promise<void>((resolve) => file.once('drain', resolve));
  }
  file.end();
  await finished(file);
}

test('a hundred thousand prompts in bounded memory, written as they end; a stopped run goes on', async () => {
  const path = join(folder, 'in.jsonl');
  const out = join(folder, 'out.jsonl');
  await writePrompts(path);
  const sampling = { maxTokens: 2, ignoreEos: true };
  const before = memoryInUse();
  const prompts = await checkPrompts(path, sampling);
  expect([prompts.rows, prompts.samples]).toEqual([total, total]);
  const memory = [memoryInUse() - before];

  /** Runs until `stopAt` rows are written. */
  const run = async (stopAt: number): Promise<RowOutput> => {
    const output = await RowOutput.open(out, 'work', prompts.samplesOf);
    const start = output.rows;
    const { engine } = fakeEngine({
      maxNumSeqs: 128,
      maxNumBatchedTokens: 512,
      parts: { runner: quick, lookAhead: 512 },
    });
    const controller = new AbortController();
    const watched = {
      statistics: () => engine.statistics(),
      async *generate(...[requests, options]: Parameters<EngineLoop['generate']>): AsyncGenerator<Completion> {
        for await (const completion of engine.generate(requests, options)) {
          yield completion;
          const written = output.rows;
          if (written === stopAt) controller.abort();
          if (written % 25_000 === 0 && completion.finishReason !== 'aborted') {
            memory.push(memoryInUse() - before);
            // Everything is in the file but what is under way.
            expect(readFileSync(output.partialPath, 'utf8').split('\n').length - 1).toBe(written);
          }
        }
      },
    };
    const { signal } = controller;
    await writeCompletions(watched, { path, prompts, sampling, output, signal, progress: silentProgress });
    expect(engine.statistics().finished.length).toBeLessThanOrEqual(total - start + 1024); // nothing was done twice
    engine.checkIntegrity();
    await engine.close();
    return output;
  };

  const stopped = await run(60_000);
  expect(process.exitCode).toBe(130);
  expect(stopped.rows).toBeGreaterThanOrEqual(60_000);
  expect(stopped.rows).toBeLessThan(61_000);
  expect(existsSync(out)).toBe(false);
  await run(Number.POSITIVE_INFINITY);

  const ids = readFileSync(out, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).id as string);
  expect(new Set(ids).size).toBe(total);
  expect(ids).toHaveLength(total);
  // The file is 15 MB; its ids alone, as strings in a map, would be another 10 MB.
  expect(memory).toHaveLength(5);
  expect(Math.max(...memory)).toBeLessThan(11e6);
});

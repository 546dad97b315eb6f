import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import { createEngine, tinyModel } from './tiny_model.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

it('streams thousands of prompts through in bounded memory, results as they finish', async () => {
  const total = 5000;
  const lookAhead = 128;
  const loaded = await tinyModel('chat');
  const engine = createEngine(loaded, { maxNumSeqs: 64, lookAhead });
  const vocabulary = loaded.model.config.vocabSize;
  let given = 0;
  let taken = 0;
  let mostLive = 0;
  function* source(): Generator<GenerateRequest> {
    for (; given < total; given++) {
      mostLive = Math.max(mostLive, given + 1 - taken);
      const prompt = [3 + (given % (vocabulary - 3)), 3 + ((7 * given) % (vocabulary - 3)), 5];
      yield { id: `${given}`, prompt, sampling: { maxTokens: 2, ignoreEos: true } };
    }
  }
  const heap: number[] = [];
  const deviceBytes: number[] = [];
  for await (const { finishReason, tokens } of engine.generate(source())) {
    expect([finishReason, tokens.length]).toEqual(['length', 2]);
    if (taken === 0) expect(given).toBeLessThanOrEqual(lookAhead); // the first result comes long before the last prompt is read
    taken++;
    if (taken % 1000 === 0) {
      heap.push(heapBytes());
      deviceBytes.push(loaded.device.statistics().peakBytes);
    }
  }
  expect([taken, engine.statistics().finished.length]).toEqual([total, total]);
  expect(mostLive).toBeGreaterThan(lookAhead / 2);
  expect(mostLive).toBeLessThanOrEqual(lookAhead + 1); // one is on its way out
  // 4,000 requests that stayed behind would be some 8 MB, a leaked tensor of each step more.
  expect(heap.at(-1)! - heap[0]!).toBeLessThan(2e6);
  expect(deviceBytes.at(-1)).toBeLessThan(1.2 * deviceBytes[0]!);
  engine.checkIntegrity();
  await engine.close();
  await loaded.close();
});

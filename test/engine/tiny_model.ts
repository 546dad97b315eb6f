import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { Completion } from '../../src/engine/completion.js';
import { Engine, type EngineOptions } from '../../src/engine/engine.js';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import { type LoadedModel, loadModel } from '../../src/nn/load.js';
import { Device } from '../../src/tensor/device.js';
import { seededIntegers } from './fake_runner.js';

export const fixtures = fileURLToPath(new URL('../fixtures', import.meta.url));

export interface TinyModel extends LoadedModel {
  device: Device;
  close(): Promise<void>;
}

export interface TinyModelOptions {
  device?: string;
  threads?: number;
  dtype?: 'f32' | 'bf16';
}

/** One of test/fixtures/models on a device of its own. */
export async function tinyModel(name: string, options: TinyModelOptions = {}): Promise<TinyModel> {
  const device = Device.open(options.device ?? 'cpu', { threads: options.threads ?? 2 });
  const loaded = await loadModel(`${fixtures}/models/${name}`, { device, dtype: options.dtype ?? 'f32' });
  return {
    ...loaded,
    device,
    async close() {
      loaded.model.dispose();
      loaded.files.weights.close();
      await device.close();
    },
  };
}

/** An engine whose books are checked once more when the test has ended: nothing is held, nothing is lost. */
export function createEngine(loaded: LoadedModel, options: EngineOptions = {}): Engine {
  const engine = Engine.create(loaded, options);
  onTestFinished(() => {
    engine.checkIntegrity();
    const { used } = engine.statistics().kvBlocks;
    if (used > 0) throw new Error(`${used} blocks are still held`);
  });
  return engine;
}

/** Runs requests through an engine of its own, checks its books, and that it gives back what it took. */
export async function run(loaded: LoadedModel, requests: GenerateRequest[], options: EngineOptions = {}) {
  const { device } = loaded.model;
  const before = device.statistics();
  const engine = Engine.create(loaded, options);
  const completions = await engine.generateAll(requests);
  engine.checkIntegrity();
  const statistics = engine.statistics();
  await engine.close();
  await device.synchronize();
  const { liveTensors, liveBytes } = device.statistics();
  if (liveTensors !== before.liveTensors || liveBytes !== before.liveBytes) {
    throw new Error(`${liveTensors - before.liveTensors} tensors (${liveBytes - before.liveBytes} bytes) leaked`);
  }
  return { completions, statistics };
}

/** Requests of every kind: with shared prefixes, several samples, all ways to sample, prompts scored and not. */
export function mixedRequests(count: number, vocabSize: number, seed = 1): GenerateRequest[] {
  const random = seededIntegers(seed);
  const tokens = (length: number) => Array.from({ length }, () => 3 + random(vocabSize - 3));
  const prefix = tokens(48);
  return Array.from({ length: count }, (_, i) => ({
    id: `request ${i}`,
    prompt: [...prefix.slice(0, 16 * random(4)), ...tokens(1 + random(24))],
    sampling: {
      maxTokens: 4 + random(24),
      n: i % 5 === 0 ? 3 : 1,
      temperature: i % 4 === 0 ? 0 : 0.9,
      logprobs: i % 3,
      ignoreEos: true,
      ...(i % 6 === 1 && { topK: 20, topP: 0.9 }),
      ...(i % 6 === 2 && { repetitionPenalty: 1.3, frequencyPenalty: 0.2 }),
      ...(i % 6 === 3 && { minP: 0.02, presencePenalty: 0.5, seed: i }),
      ...(i % 6 === 4 && { logitBias: { 5: 2 }, minTokens: 3, stopTokenIds: [7] }),
      ...(i % 6 === 5 && { allowedTokenIds: Array.from({ length: 30 }, (_, k) => 2 * k + 1) }),
      ...(i % 7 === 0 && { promptLogprobs: true }),
    },
  }));
}

/** Everything that must not depend on how requests were run. */
export function bits(completions: readonly Completion[]): string {
  return JSON.stringify(completions);
}

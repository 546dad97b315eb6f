// A real model, SmolLM2-135M-Instruct, from its GGUF file: against the same file read by the gguf package and run by transformers.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Engine } from '../../src/engine/engine.js';
import { type LoadedModel, loadModel } from '../../src/nn/load.js';
import { tokenLogprobs } from '../../src/ops/cross_entropy.js';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import type { Message } from '../../src/text/chat_template.js';
import { catalogue } from '../../src/weights/catalogue.js';
import { fetchModel } from '../../src/weights/fetch.js';
import { expectClose, goldenJson } from '../support/fixtures.js';
import { packed } from '../support/packed.js';

interface Golden {
  sha256: string;
  chats: {
    messages: Message[];
    text: string;
    tokens: number[];
    logprobs: (number | null)[];
    greedy: { tokens: number[]; logprobs: number[]; margins: number[] };
  }[];
  texts: string[];
  ids: number[][];
  decoded: string[];
}

const name = 'smollm2-135m-instruct';
const golden = goldenJson<Golden>('smollm2.json');
const documents = golden.chats.map(({ tokens }) => tokens);

describe('SmolLM2-135M-Instruct', () => {
  let device: Device;
  let loaded: LoadedModel;
  beforeAll(async () => {
    await fetchModel(name);
    device = Device.open('cpu', { threads: 2 });
    loaded = await loadModel(name, { device });
  }, 600_000);
  afterAll(async () => {
    loaded.model.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  it('is the file that the golden data was made from', () => {
    expect(catalogue[name]!.sha256).toBe(golden.sha256);
  });

  it.each(golden.texts.map((text, index) => [text, index] as const))('encodes and decodes %j', (text, index) => {
    const tokenizer = loaded.tokenizer!;
    expect(tokenizer.encode(text)).toEqual(golden.ids[index]);
    expect(tokenizer.decode(golden.ids[index]!, { skipSpecialTokens: false })).toBe(golden.decoded[index]);
  });

  it.each(golden.chats)('renders and tokenises $messages.length messages', ({ messages, text, tokens }) => {
    expect(loaded.chatTemplate!.render(messages, { addGenerationPrompt: true })).toBe(text);
    expect(loaded.tokenizer!.encode(text, { addSpecialTokens: false })).toEqual(tokens);
  });

  it('gives the log-probability of every prompt token', async () => {
    const { model } = loaded;
    const tensor = scope(() => {
      const hidden = model.forward(packed(device, documents));
      const next = documents.flatMap((tokens) => [...tokens.slice(1), -1]);
      return tokenLogprobs(hidden, model.outputWeight, Tensor.from(device, Int32Array.from(next))).logprobs;
    });
    const expected = golden.chats.flatMap(({ logprobs }) => [...(logprobs.slice(1) as number[]), 0]);
    expectClose(await tensor.readFloats(), expected, 1e-4, 'log-probabilities');
    tensor.dispose();
  });

  it('goes on greedily token for token', async () => {
    const engine = Engine.create(loaded, { kvCacheBytes: 1 << 27 });
    const maxTokens = golden.chats[0]!.greedy.tokens.length;
    const completions = await engine.generateAll(documents, {
      temperature: 0,
      maxTokens,
      ignoreEos: true,
      logprobs: 0,
    });
    await engine.close();
    for (const [index, { greedy }] of golden.chats.entries()) {
      // No margin between the two best tokens is so small that rounding could swap them.
      expect(Math.min(...greedy.margins)).toBeGreaterThan(0.01);
      expect(completions[index]!.tokens).toEqual(greedy.tokens);
      const received = completions[index]!.logprobs!.map(({ logprob }) => logprob);
      expectClose(received, greedy.logprobs, 1e-4, `log-probabilities of continuation ${index}`);
    }
  });
});

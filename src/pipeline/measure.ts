/** How fast an engine is: two small batches of random tokens, one that only reads and one that mostly writes. */
import type { RequestServer } from '../engine/request_server.js';
import { randomWord } from '../training/philox.js';
import type { InferenceRates } from './rates.js';

/** Sequences of the batch that reads; their length, where the context holds it. */
const readers = 16;
const mostReadTokens = 128;
/** Sequences of the batch that writes; what each writes. */
const writers = 64;
const writtenTokens = 12;
const shortPrompt = 4;

/** @param config the model's config.json */
export async function measureRates(
  engine: RequestServer<unknown>,
  config: Record<string, unknown>,
): Promise<InferenceRates> {
  const vocabSize = Number(config.vocab_size);
  const maxPositionEmbeddings = Number(config.max_position_embeddings ?? Number.POSITIVE_INFINITY);
  let stream = 0;
  const time = async (sequences: number, promptLength: number, maxTokens: number): Promise<number> => {
    const requests = Array.from({ length: sequences }, (_, index) => {
      stream++;
      const prompt = Array.from(
        { length: promptLength },
        (_, position) => randomWord(0, 7, stream, position) % vocabSize,
      );
      return { id: `measure ${index}`, prompt, sampling: { maxTokens, temperature: 1, seed: index, ignoreEos: true } };
    });
    const begin = performance.now();
    for await (const { finishReason, error } of engine.generate(requests))
      if (finishReason === 'error') throw new Error(error);
    return (performance.now() - begin) / 1000;
  };
  await time(1, shortPrompt, 1); // The first step also sets up.
  const readTokens = Math.min(mostReadTokens, Math.floor(maxPositionEmbeddings / 2));
  const prefill = (readers * readTokens) / (await time(readers, readTokens, 1));
  const writing = await time(writers, shortPrompt, writtenTokens);
  const decode = (writers * writtenTokens) / Math.max(1e-3, writing - (writers * shortPrompt) / prefill);
  return { prefill, decode };
}

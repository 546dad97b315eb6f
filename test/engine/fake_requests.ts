import type { Completion } from '../../src/engine/completion.js';
import type { GenerateRequest } from '../../src/engine/prompt.js';
import { sampleSeed } from '../../src/engine/seeds.js';
import { nextToken, seededIntegers } from './fake_runner.js';

/** The tokens that the fake model gives to a request that is alone. */
export function expected(
  id: string,
  prompt: number[],
  length: number,
  seed: number | null = null,
  index = 0,
): number[] {
  const tokens = [...prompt];
  while (tokens.length < prompt.length + length) tokens.push(nextToken(tokens, sampleSeed(0, id, seed, index)));
  return tokens.slice(prompt.length);
}

/** Seeded requests of 1 to 20 tokens in, 1 to 20 out. */
export function requests(count: number, sampling: GenerateRequest['sampling'] = {}): GenerateRequest[] {
  const random = seededIntegers(7);
  return Array.from({ length: count }, (_, i) => ({
    id: `r${i}`,
    prompt: Array.from({ length: 1 + random(20) }, () => random(50)),
    sampling: { maxTokens: 1 + random(20), ignoreEos: true, ...sampling },
  }));
}

export async function collect(results: AsyncIterable<Completion>): Promise<Completion[]> {
  const all: Completion[] = [];
  for await (const result of results) all.push(result);
  return all;
}

/**
 * How fast an engine is at a study's own work: some of its prompts, as many sequences at once as it will run, the context
 * that they will have. Takes some seconds; where a step is slow, fewer sequences are tried and the rest is a straight line.
 */
import type { GenerateRequest } from '../engine/prompt.js';
import type { RequestServer } from '../engine/request_server.js';
import { UserError } from '../errors.js';
import type { InferenceRates } from './rates.js';

/** Tokens that are written in a trial, behind the one that ends the prompt. */
const decodedTokens = 6;
/** What a trial may take, about. */
const secondsOfTrial = 4;

type Prompt = Pick<GenerateRequest, 'prompt' | 'continuation'>;

/** Of two trials the faster one counts: what else the machine does only slows them. */
interface Trial {
  seconds: number;
  prefillTokens: number;
}

function rateOf({ seconds, prefillTokens }: Trial): number {
  return Math.max(1, prefillTokens) / seconds;
}

/**
 * @param prompts one or more, as different from one another as the study's
 * @param batch sequences that the study will run at once
 * @throws {UserError} when a prompt does not fit
 */
export async function measureRates(
  engine: RequestServer<unknown>,
  prompts: readonly Prompt[],
  batch: number,
): Promise<Omit<InferenceRates, 'load'>> {
  let trials = 0;
  const time = async (chosen: readonly Prompt[], n: number, maxTokens: number): Promise<Trial> => {
    trials++;
    const sampling = { n, maxTokens, temperature: 1, seed: trials, ignoreEos: true };
    const requests = chosen.map((prompt, index) => ({ id: `${trials} ${index}`, ...prompt, sampling }));
    const before = engine.statistics().prefillTokens;
    const begin = performance.now();
    for await (const { finishReason, error } of engine.generate(requests))
      if (finishReason === 'error') throw new UserError(error ?? 'a request failed');
    const seconds = (performance.now() - begin) / 1000;
    return { seconds, prefillTokens: engine.statistics().prefillTokens - before };
  };
  // The first step also sets up; the second prompt shows what one costs.
  const [first, second = first, ...others] = prompts;
  await time([first!], 1, 1);
  const one = await time([second!], 1, 1);
  const affordable = others.slice(0, Math.floor(secondsOfTrial / one.seconds));
  const half = Math.ceil(affordable.length / 2);
  let prefill = rateOf(one);
  for (const group of [affordable.slice(0, half), affordable.slice(half)])
    if (group.length > 0) prefill = Math.max(prefill, rateOf(await time(group, 1, 1)));

  // All of these have been read; the prefix cache holds them but for the ends of their last blocks.
  const known = [first!, second!, ...affordable];
  const stepOf = async (chosen: readonly Prompt[], n: number): Promise<number> => {
    let best = Number.POSITIVE_INFINITY;
    for (let trial = 0; trial < 2; trial++) {
      const { seconds, prefillTokens } = await time(chosen, n, decodedTokens + 1);
      best = Math.min(best, Math.max(1e-6, seconds - prefillTokens / prefill) / decodedTokens);
    }
    return best;
  };
  const line = (fewer: number, fewerSeconds: number, more: number, moreSeconds: number) => {
    const perSequence = more > fewer ? Math.max(0, moreSeconds - fewerSeconds) / (more - fewer) : 0;
    return { prefill, step: { base: Math.max(0, fewerSeconds - perSequence * fewer), perSequence } };
  };
  const few = known.slice(0, Math.max(1, Math.floor(batch / 4)));
  const fewSeconds = await stepOf(few, 1);
  const most = (secondsOfTrial / decodedTokens / fewSeconds) * few.length;
  const n = Math.floor(Math.min(batch, most) / few.length);
  if (n < 2) return line(1, few.length > 1 ? await stepOf([first!], 1) : fewSeconds, few.length, fewSeconds);
  return line(few.length, fewSeconds, few.length * n, await stepOf(few, n));
}

/** Requests to complete: prompts of random tokens, each with the number of tokens to generate. */
import { randomWord } from '../training/philox.js';

export interface Workload {
  readonly prompts: readonly (readonly number[])[];
  /** Tokens to generate, by request; an end-of-sequence token does not end it. */
  readonly outputs: readonly number[];
}

/** Philox's purpose word of these draws. */
const purpose = 0x42_45_4e_43;

/** Ids below this are often special tokens. */
const firstOrdinaryToken = 100;

/** Uniform in [low, high], a function of all arguments. */
function draw(seed: number, stream: number, index: number, low: number, high: number): number {
  return low + Math.floor((randomWord(seed, purpose, stream, index) / 2 ** 32) * (high - low + 1));
}

function make(inputs: readonly number[], outputs: readonly number[], vocabSize: number, seed: number): Workload {
  const lowest = Math.min(firstOrdinaryToken, vocabSize - 1);
  let index = 0;
  const prompts = inputs.map((length) => Array.from({ length }, () => draw(seed, 2, index++, lowest, vocabSize - 1)));
  return { prompts, outputs };
}

/** Requests of one length. */
export function uniformWorkload(
  requests: number,
  input: number,
  output: number,
  vocabSize: number,
  seed = 0,
): Workload {
  return make(new Array<number>(requests).fill(input), new Array<number>(requests).fill(output), vocabSize, seed);
}

/** Prompt and output lengths drawn uniformly from [low, high], each by itself. */
export function mixedWorkload(requests: number, low: number, high: number, vocabSize: number, seed = 0): Workload {
  const lengths = (stream: number): number[] =>
    Array.from({ length: requests }, (_, index) => draw(seed, stream, index, low, high));
  return make(lengths(0), lengths(1), vocabSize, seed);
}

export function tokensOf({ prompts, outputs }: Workload): { input: number; output: number } {
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  return { input: sum(prompts.map(({ length }) => length)), output: sum(outputs) };
}

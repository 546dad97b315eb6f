// Where the golden data of test/fixtures lies, and how results are compared with it.
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type GoldenArray, readSafetensors } from './safetensors.js';

// The compiler leaves data where it is.
const FIXTURES = fileURLToPath(new URL('../fixtures/', import.meta.url)).replace(
  /([\\/])dist[\\/]test[\\/]/,
  '$1test$1',
);

/** The tiny Llamas saved by transformers; test/fixtures/README.md says how they differ. */
const PLAIN_MODELS = ['tied', 'linear', 'llama3', 'yarn', 'bias', 'sharded', 'bf16', 'chat'] as const;
/** Those whose linear layers are stored quantised. */
export const QUANTISED_MODELS = ['fp8_tensor', 'fp8_block', 'mxfp4'] as const;
export const GOLDEN_MODELS = [...PLAIN_MODELS, ...QUANTISED_MODELS] as const;
export type GoldenModel = (typeof GOLDEN_MODELS)[number];

/** The folder of a tiny model: config.json, safetensors, for `chat` a tokenizer. */
export function modelFolder(name: GoldenModel): string {
  return join(FIXTURES, 'models', name);
}

/** The folder of the peft adapter of a tiny model. */
export function adapterFolder(name: 'tied' | 'linear' | 'tied-saved' | 'linear-saved'): string {
  return join(FIXTURES, 'adapters', name);
}

/** The path of a file under test/fixtures/golden. */
export function goldenPath(file: string): string {
  return join(FIXTURES, 'golden', file);
}

export function goldenText(file: string): string {
  return readFileSync(goldenPath(file), 'utf8');
}

export function goldenJson<T>(file: string): T {
  return JSON.parse(goldenText(file)) as T;
}

export function goldenArrays(file: string): Map<string, GoldenArray> {
  return readSafetensors(goldenPath(file));
}

/** golden/<model>.json. `logprobs[d][i]` is the log-probability of token i of document d given those before it (null for the
 * first); `greedy[d]` continues document d by 20 tokens, `margin` is the smallest top-1 minus top-2 logit on the way. */
export interface GoldenOutputs {
  documents: number[][];
  logprobs: (number | null)[][];
  greedy: { tokens: number[]; logprobs: number[]; margin: number }[];
  oldConfig: Record<string, unknown>;
}

export function goldenOutputs(name: GoldenModel): GoldenOutputs {
  return goldenJson(`${name}.json`);
}

/** A copy of the model in a temporary folder, its config.json as transformers 4 wrote it (`rope_scaling`, `rope_theta`). */
export function copyWithOldConfig(name: GoldenModel): string {
  const folder = mkdtempSync(join(tmpdir(), `old-config-${name}-`));
  cpSync(modelFolder(name), folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(goldenOutputs(name).oldConfig));
  return folder;
}

/** The largest |actual − expected| / max(1, |expected|) and where it is; a NaN on one side alone counts as infinite. */
export function largestError(actual: ArrayLike<number>, expected: ArrayLike<number>): { error: number; index: number } {
  let worst = { error: 0, index: -1 };
  for (let index = 0; index < expected.length; index++) {
    const [a, e] = [actual[index]!, expected[index]!];
    if (Object.is(a, e) || (Number.isNaN(a) && Number.isNaN(e))) continue;
    const error = Math.abs(a - e) / Math.max(1, Math.abs(e));
    if (Number.isNaN(error)) return { error: Number.POSITIVE_INFINITY, index };
    if (error > worst.error) worst = { error, index };
  }
  return worst;
}

/** ‖actual − expected‖ / ‖expected‖, Euclidean; infinite for another length. AdamW makes much of single gradients near zero, so for weights. */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (actual.length !== expected.length) return Number.POSITIVE_INFINITY;
  let error = 0;
  let norm = 0;
  for (let index = 0; index < expected.length; index++) {
    error += (actual[index]! - expected[index]!) ** 2;
    norm += expected[index]! ** 2;
  }
  return error === 0 ? 0 : Math.sqrt(error / norm);
}

/** Throws unless both have the same length and every element agrees to `tolerance` (absolute below 1, relative above). */
export function expectClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
  name: string,
): void {
  if (actual.length !== expected.length)
    throw new Error(`Expected '${name}' to have ${expected.length} elements but received ${actual.length}`);
  const { error, index } = largestError(actual, expected);
  if (!(error <= tolerance))
    throw new Error(
      `Expected '${name}'[${index}] to be ${expected[index]} within ${tolerance} but received ${actual[index]} (error ${error.toPrecision(3)})`,
    );
}

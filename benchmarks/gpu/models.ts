/**
 * A small Llama with random weights on a GPU and on the CPU: the same tokens but for ties, and the same ten training steps but
 * for rounding. On the GPU the same bits however the requests are batched.
 *
 *   node dist/benchmarks/gpu/models.js [device]
 */
import { Engine, type EngineOptions } from '../../src/engine/engine.js';
import { native } from '../../src/native.js';
import type { CausalLM } from '../../src/nn/model.js';
import { Device } from '../../src/tensor/device.js';
import { ourTrainer } from '../common/trainers.js';
import { randomModel, seededUniform, tinyLlama } from './random_model.js';

const name = process.argv[2] ?? 'cuda:0';
const emulated = name === 'cuda-emulated';
/** Kernels for Hopper take bf16 and heads of 64. */
const hopper = process.env.COMPRESS_DISTILL_HOPPER_KERNELS === '1';
const config = hopper ? { ...tinyLlama, head_dim: 64 } : tinyLlama;
/** Of log-probabilities and losses, summed in other orders. */
const tolerance = hopper ? 3e-2 : 1e-4;

/** Other steps than by default, which `invariant` says change nothing. */
const otherwise = {
  maxNumSeqs: 2,
  maxNumBatchedTokens: 40,
  maxPrefillChunk: 16,
  enablePrefixCaching: false,
  enforceEager: true,
};

// Operations that the device has no kernel for are told before anything runs: the rest could only fail.
const missing = native
  .listOps(emulated ? 'cuda-emulated' : 'cuda')
  .filter(({ implemented }) => !implemented)
  .map(({ name: op }) => op);
if (missing.length > 0) {
  console.log(`SKIPPED: there are no kernels yet for ${missing.join(', ')}`);
  process.exit(0);
}

const random = seededUniform(7);
const token = (): number => 3 + Math.floor(random() * (tinyLlama.vocab_size - 4));
const tokens = (length: number): number[] => Array.from({ length }, token);
const prompts = Array.from({ length: emulated ? 3 : 16 }, (_, index) => tokens(5 + 7 * index));
const documents = Array.from({ length: emulated ? 2 : 6 }, (_, index) => tokens(9 + 11 * index));

let failed = 0;
const report = (what: string, problem: string | null): void => {
  console.log(`${what}: ${problem ?? 'ok'}`);
  if (problem !== null) failed += 1;
};

const expected = await onDevice('cpu');
const actual = await onDevice(name);
for (const [index, { tokens: want, logprobs }] of expected.generated.entries()) {
  const got = actual.generated[index]!;
  report(`request ${index}`, difference(want, logprobs, got.tokens, got.logprobs));
}
for (const [index, { tokens: want, logprobs }] of actual.generated.entries()) {
  const got = actual.otherwise[index]!;
  const same = JSON.stringify([want, logprobs]) === JSON.stringify([got.tokens, got.logprobs]);
  report(`request ${index}, in other batches and chunks, not recorded`, same ? null : 'FAILED: other bits');
}
for (const [step, loss] of expected.losses.entries()) {
  const got = actual.losses[step]!;
  const far = !(Math.abs(got - loss) <= tolerance * (1 + step));
  report(`training step ${step + 1}, loss ${loss.toFixed(6)}`, far ? `FAILED: ${got.toFixed(6)}` : null);
}
process.exitCode = failed > 0 ? 1 : 0;

interface Generated {
  readonly tokens: readonly number[];
  readonly logprobs: readonly { readonly logprob: number }[];
}

async function onDevice(
  deviceName: string,
): Promise<{ generated: Generated[]; otherwise: Generated[]; losses: number[] }> {
  const device = Device.open(deviceName);
  const model = randomModel(device, config, hopper ? 'bf16' : 'f32');
  const generated = await generate(model, {});
  const again = await generate(model, otherwise);
  const losses = await train(model);
  model.dispose();
  await device.close();
  return { generated, otherwise: again, losses };
}

async function generate(model: CausalLM, options: EngineOptions): Promise<Generated[]> {
  const engine = Engine.create(
    { model, tokenizer: null, chatTemplate: null },
    { kvCacheBytes: 4 << 20, maxModelLen: 256, ...options },
  );
  const requests = prompts.map((prompt, index) => ({
    id: String(index),
    prompt,
    sampling: { temperature: 0, maxTokens: emulated ? 4 : 32, ignoreEos: true, logprobs: 1 },
  }));
  const completions = await engine.generateAll(requests);
  await engine.close();
  return completions.map((completion) => {
    if (completion.error !== undefined) throw new Error(`Request ${completion.id}: ${completion.error}`);
    return { tokens: completion.tokens, logprobs: completion.logprobs! };
  });
}

async function train(model: CausalLM): Promise<number[]> {
  const setup = { method: 'lora', documents, rank: 4, dropout: 0, learningRate: 1e-2, activationCheckpointing: 'none' } as const; // biome-ignore format: one line
  const trainer = await ourTrainer({ model, masters: new Map() }, setup);
  const losses: number[] = [];
  for (let step = 0; step < (emulated ? 3 : 10); step += 1) losses.push((await trainer.step()).loss);
  await trainer.stop();
  return losses;
}

/** Up to the first other token everything agrees; there the two were as likely. */
function difference(
  want: readonly number[],
  wantLogprobs: Generated['logprobs'],
  got: readonly number[],
  gotLogprobs: Generated['logprobs'],
): string | null {
  for (const [at, expectedToken] of want.entries()) {
    const [a, b] = [wantLogprobs[at]!.logprob, gotLogprobs[at]!.logprob];
    if (!(Math.abs(a - b) <= tolerance)) return `FAILED: log-probability ${b} instead of ${a} at token ${at}`;
    if (got[at] !== expectedToken) return null;
  }
  return null;
}

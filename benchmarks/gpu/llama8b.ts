/**
 * Llama-3.1-8B's shape with random weights, end to end, on a GPU. Prints a JSON object for each measurement, as soon as it is there.
 *
 *   node dist/benchmarks/gpu/llama8b.js generate|lora [device] [seconds]
 *
 * generate: 128 requests of 1,000 tokens in and 100 out, then of 1,000 out if that will be done in `seconds` (default 600) from the
 * start, then of 100 out with `invariant` off. lora: rank 64 on all linear layers, packs of 16,384 tokens in documents of
 * 2,048, what is cheap recomputed, or whole layers where memory is short. On `cuda-emulated` the same with a tiny model, to see that it runs.
 */
import { floorOf } from '../../src/bench/floor.js';
import { engineGenerator, generationWork } from '../../src/bench/generation.js';
import { bestRates, measureRates } from '../../src/bench/rates.js';
import { uniformWorkload } from '../../src/bench/workload.js';
import { Device } from '../../src/tensor/device.js';
import { parseTrainConfig } from '../../src/training/config.js';
import { planMemory } from '../../src/training/memory_plan.js';
import { ourTrainer } from '../common/trainers.js';
import { llama8b, randomModel, tinyLlama } from './random_model.js';

const [what, name = 'cuda:0', limit = '600'] = process.argv.slice(2);
if (what !== 'generate' && what !== 'lora') throw new Error(`Expected 'generate' or 'lora' but received '${what}'`);
const secondsLeft = (): number => Number(limit) - performance.now() / 1000; // since the process began
const emulated = name === 'cuda-emulated';
const config = emulated ? tinyLlama : llama8b;
const device = Device.open(name);
const progress = (text: string): void => console.error(text);

progress('measuring rates');
const before = await measureRates(device);
progress('making weights');
const model = randomModel(device, config, 'bf16');
await device.synchronize();
await (what === 'generate' ? generate() : lora());
model.dispose();
await device.close();

interface Measured {
  readonly conditions: Readonly<Record<string, unknown>>;
  readonly seconds: number;
  readonly tokensPerSecond: number;
  readonly work: { readonly flops: number; readonly bytes: number };
  readonly details?: Readonly<Record<string, number>> | undefined;
}

async function tell(item: string, result: Measured): Promise<void> {
  const rates = bestRates(before, await measureRates(device));
  const floor = floorOf(result.work, 'bf16', rates);
  const { peakBytes, accelerator } = device.statistics();
  const fractionOfFloor = floor.seconds / result.seconds;
  const hardware = accelerator?.description ?? name;
  const benchmark = `Llama-3.1-8B shape, ${item}`;
  console.log(JSON.stringify({ item, benchmark, ...result, floor, fractionOfFloor, rates, peakBytes, hardware }));
}

async function generate() {
  const [requests, input, few, many] = emulated ? [2, 5, 2, 3] : [128, 1000, 100, 1000];
  const kvCacheBytes = emulated ? 4 << 20 : requests * (input + many + 16) * 131072; // bytes of a token in 8B's 32 layers
  const loaded = { model, tokenizer: null, chatTemplate: null };
  const { vocabSize } = model.config;
  let last = { seconds: 0, output: 1 };
  for (const [item, invariant, outputs] of [
    ['generate', true, [few, many]],
    ['generate, not invariant', false, [few]],
  ] as const) {
    const options = { maxNumSeqs: requests, kvCacheBytes, maxModelLen: input + many, invariant };
    const engine = engineGenerator(loaded, options);
    progress('warming up');
    await engine.run(uniformWorkload(requests, emulated ? 2 : 16, 2, vocabSize));
    for (const output of outputs) {
      const title = `${item}, ${output === few ? 100 : 1000} tokens`;
      const expected = last.seconds * (output / last.output);
      if (expected > secondsLeft()) {
        const skipped = `it would take ${expected.toFixed(0)} s, going by what came before, and ${secondsLeft().toFixed(0)} are left`;
        console.log(JSON.stringify({ item: title, skipped }));
        continue;
      }
      const workload = uniformWorkload(requests, input, output, vocabSize);
      progress(`generating ${requests} times ${output} tokens`);
      const { seconds, details } = await engine.run(workload);
      last = { seconds, output };
      await tell(title, {
        conditions: { requests, input, output, kvCacheBytes, invariant },
        seconds,
        tokensPerSecond: (requests * output) / seconds,
        work: generationWork(model, workload),
        details,
      });
    }
    await engine.stop();
  }
}

async function lora() {
  const [count, length, steps] = emulated ? [2, 9, 1] : [8, 2048, 3];
  const documents = uniformWorkload(count, length, 0, model.config.vocabSize).prompts;
  const tokens = count * length;
  const rank = emulated ? 4 : 64;
  // No product is computed again where there is memory for that.
  const selective = {
    model: 'random',
    data: 'random',
    output: 'none',
    device: 'cuda',
    lora: { rank, dropout: 0 },
    optimizer: 'adamw',
  };
  const settings = parseTrainConfig({ ...selective, activationCheckpointing: 'selective' });
  const { accelerator, liveBytes } = device.statistics();
  const fits = planMemory(config, settings, tokens).total < accelerator!.freeBytes + liveBytes;
  const activationCheckpointing = fits ? 'selective' : 'layer';
  const trainer = await ourTrainer(
    { model, masters: new Map() },
    {
      method: 'lora',
      documents,
      rank,
      dropout: 0,
      learningRate: 2e-4,
      activationCheckpointing,
    },
  );
  progress('warming up');
  await trainer.step();
  let fastest = Infinity;
  for (let step = 0; step < steps && (step === 0 || fastest < secondsLeft()); step += 1) {
    const { seconds, loss } = await trainer.step();
    progress(`step ${step + 1}: ${seconds.toFixed(2)} s, loss ${loss.toFixed(4)}`);
    fastest = Math.min(fastest, seconds);
  }
  await trainer.stop();
  // 2 operations a weight and token forward and 2 backward through what is frozen; attention twice forward's and a half.
  let weights = model.outputWeight.size;
  for (const { weight } of model.linears.values()) weights += weight.size;
  const { headDim, numHeads, numLayers } = model.config;
  const attention = 3.5 * 4 * headDim * numHeads * numLayers * count * ((length * (length + 1)) / 2);
  await tell('lora', {
    conditions: { tokens, documents: count, rank, activationCheckpointing },
    seconds: fastest,
    tokensPerSecond: tokens / fastest,
    work: { flops: 4 * weights * tokens + attention, bytes: 0 },
  });
}

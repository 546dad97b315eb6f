/** Models whose linear layers stay as fp8 or mxfp4: what is read, what is refused, adapters trained beside them and merged into them. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Engine } from '../../src/engine/engine.js';
import { loadModel } from '../../src/nn/load.js';
import type { CausalLM } from '../../src/nn/model.js';
import { quantisationOf, quantisedBytes, quantisedWeights } from '../../src/nn/quantisation.js';
import { crossEntropy, logits } from '../../src/ops/cross_entropy.js';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { Tape } from '../../src/tensor/tape.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { saveAdapter } from '../../src/training/adapter_files.js';
import { parseTrainConfig } from '../../src/training/config.js';
import { adapterTensors, attachLora } from '../../src/training/lora_modules.js';
import { mergeAdapter } from '../../src/training/merge.js';
import { uniform } from '../../src/training/philox.js';
import { train } from '../../src/training/train.js';
import { expectClose, modelFolder, QUANTISED_MODELS, relativeError } from '../support/fixtures.js';
import { packed } from '../support/packed.js';
import { readSafetensors } from '../support/safetensors.js';
import { allLinears } from '../training/student.js';

const tokens = [5, 7, 100, 3, 96, 0, 51, 20, 8];
const targets = [7, 100, -1, 96, 0, 51, -1, 8, -1];
const lora = { rank: 4, alpha: 8, dropout: 0, targetModules: allLinears, rsLora: false };

let folder: string;
let device: Device;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'quantised-'));
  device = Device.open('cpu', { threads: 2 });
});
afterEach(async () => {
  expect(device.statistics().liveTensors).toBe(0);
  await device.close();
  await rm(folder, { recursive: true });
});

/** With adapters whose B is not zero. */
function adapt(model: CausalLM): void {
  attachLora(model, { ...lora, seed: 5 });
  let stream = 0;
  for (const { adapter } of model.linears.values())
    adapter!.b.write(uniform(9, 1, ++stream, adapter!.b.size, -0.3, 0.3));
}

async function logitsOf(model: CausalLM): Promise<Float32Array> {
  using tensor = scope(() => logits(model.forward(packed(model.device, [tokens])), model.outputWeight));
  return tensor.readFloats();
}

/** Hidden states and gradients of these parameters. */
async function trained(model: CausalLM, parameters: ReadonlyMap<string, Tensor>): Promise<Map<string, Float32Array>> {
  for (const parameter of parameters.values()) parameter.requiresGrad = true;
  const hidden = scope(() => {
    using tape = new Tape();
    const upload = Tensor.from(model.device, Int32Array.from(targets));
    const { states, loss } = tape.run(() => {
      const states = model.forward(packed(model.device, [tokens]));
      const weights = Tensor.full(model.device, [tokens.length], 0.1);
      return { states, loss: crossEntropy(states, model.outputWeight, upload, weights) };
    });
    tape.backward(loss);
    return states;
  });
  const found = new Map([['hidden', await hidden.readFloats()]]);
  hidden.dispose();
  for (const [name, { grad }] of parameters) found.set(name, await grad!.readFloats());
  return found;
}

describe.each(QUANTISED_MODELS)('%s', (name) => {
  /** As it is stored, and with plain numbers. */
  async function both<R>(dtype: 'f32' | 'bf16', run: (model: CausalLM) => Promise<R>): Promise<[stored: R, plain: R]> {
    const results: R[] = [];
    for (const dequantise of [false, true]) {
      const { model } = await loadModel(modelFolder(name), { device, dtype, dequantise });
      expect(quantisedWeights(model).size > 0).toBe(!dequantise);
      results.push(await run(model));
      model.dispose();
    }
    return results as [R, R];
  }

  it.each(['f32', 'bf16'] as const)(
    'computes what the dequantised weights do, there and back, bit for bit, in %s',
    async (dtype) => {
      const dense = ['model.embed_tokens.weight', 'model.layers.0.input_layernorm.weight'];
      const [stored, plain] = await both(dtype, (model) =>
        trained(model, new Map(dense.map((each) => [each, model.weights.get(each)!]))),
      );
      expect(stored).toEqual(plain);
    },
  );

  it('trains adapters as beside the dequantised weights', async () => {
    const [stored, plain] = await both('f32', (model) => {
      adapt(model);
      return trained(model, adapterTensors(model));
    });
    expect(plain.size).toBe(1 + 2 * 14);
    for (const [key, values] of plain) expect(relativeError(stored.get(key)!, values), key).toBeLessThan(3e-6);
  });

  it('takes as much memory as it says', async () => {
    const { model, files } = await loadModel(modelFolder(name), { device });
    const { form } = quantisationOf(files.config)!;
    for (const { bytes, shape } of quantisedWeights(model).values()) expect(bytes).toBe(quantisedBytes(form, shape));
    const engine = Engine.create({ model, tokenizer: null, chatTemplate: null, files }, { kvCacheBytes: 1 << 20 });
    const described = {
      fp8_tensor: 'fp8 with one scale each',
      fp8_block: 'fp8 with a scale for each 128 × 128',
      mxfp4: 'mxfp4',
    };
    expect(engine.startupReport()).toContain(
      `${name} in f32, linear layers stored in ${described[name]} (activations stay f32), weights `,
    );
    await engine.close();
    model.dispose();
  });

  it('takes an adapter in, as plain numbers', async () => {
    const { model } = await loadModel(modelFolder(name), { device });
    adapt(model);
    const expected = await logitsOf(model);
    await saveAdapter(folder, model, lora, modelFolder(name));
    model.dispose();
    const output = join(folder, 'merged');
    const merged = await mergeAdapter({ model: modelFolder(name), adapter: folder, output, threads: 2 });
    expect(merged.layers).toBe(14);
    expect(merged.dequantised).toBe(name.replace('_', ' '));
    expect(JSON.parse(readFileSync(join(output, 'config.json'), 'utf8')).quantization_config).toBeUndefined();
    expect([...readSafetensors(join(output, 'model.safetensors')).keys()].join()).not.toMatch(/scale|blocks/);
    const { model: plain } = await loadModel(output, { device });
    expect(quantisedWeights(plain).size).toBe(0);
    expectClose(await logitsOf(plain), expected, 1e-5, 'logits');
    plain.dispose();
  });
});

describe('refused in one line', () => {
  /** A copy of a model with another quantization_config. */
  function changed(
    name: (typeof QUANTISED_MODELS)[number],
    change: (settings: Record<string, unknown>) => unknown,
  ): string {
    const copy = join(folder, 'model');
    cpSync(modelFolder(name), copy, { recursive: true });
    const path = join(copy, 'config.json');
    const config = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...config, quantization_config: change(config.quantization_config) }));
    return copy;
  }

  it.each([
    [
      'another method',
      () => ({ quant_method: 'awq' }),
      "Expected 'quant_method' in the model's quantization_config to be 'fp8' or 'mxfp4' but received \"awq\"; use the model's weights in bf16, or a GGUF file of it",
    ],
    ['no method', () => 'fp8', "Expected 'quant_method' in the model's quantization_config to be 'fp8' or 'mxfp4'"],
    [
      'other blocks',
      (settings: object) => ({ ...settings, weight_block_size: [64, 128] }),
      "Expected 'weight_block_size' in the model's quantization_config to be [128, 128], or null for one scale, but received [64,128]",
    ],
    [
      'names that are no list',
      (settings: object) => ({ ...settings, modules_to_not_convert: 'lm_head' }),
      "Expected 'modules_to_not_convert' in the model's quantization_config to be a list of names but received \"lm_head\"",
    ],
    [
      'blocks where the file has one scale each',
      (settings: object) => ({ ...settings, weight_block_size: [128, 128] }),
      /Expected weight 'model.layers.0.self_attn.q_proj.weight_scale_inv' to have shape \[1, 1\] by the config but the file has \[\]/,
    ],
    [
      'a module that is not stored so',
      (settings: object) => ({ ...settings, modules_to_not_convert: null }),
      /Expected weight 'model.layers.0.mlp.down_proj.weight' to be F8_E4M3 by quantization_config but the file has F32; name its module in 'modules_to_not_convert'/,
    ],
    [
      'another format',
      () => ({ quant_method: 'mxfp4', modules_to_not_convert: ['model.layers.0.mlp.down_proj'] }),
      /Expected weight 'model.layers.0.self_attn.q_proj.weight_blocks' to be U8 by quantization_config but the file has F8_E4M3/,
    ],
    [
      'a module that is stored so after all',
      () => ({ quant_method: 'fp8', modules_to_not_convert: ['model.layers.0'] }),
      /weights that the architecture does not have: model.layers.0/,
    ],
  ])('%s', async (_, change, message) => {
    const failure = await loadModel(changed('fp8_tensor', change), { device }).then(
      () => 'was loaded',
      (error: Error) => error.message,
    );
    expect(failure).toMatch(message);
    expect(failure).not.toContain('\n');
  });

  it.each([
    [
      { method: 'full' },
      /fp8_block: its weights are stored in fp8 block, which cannot be trained; set 'method: lora', or name the model in bf16$/,
    ],
    [
      { fullyShard: true, mesh: { dp: 2 } },
      /fp8_block: its weights are stored in fp8 block, of which every rank needs all; leave 'fullyShard' out$/,
    ],
  ])('training with %o', async (settings, message) => {
    const config = parseTrainConfig({
      ...{ model: modelFolder('fp8_block'), data: join(folder, 'none.jsonl'), output: join(folder, 'student') },
      ...settings,
    });
    await expect(train(config)).rejects.toThrow(message);
  });
});

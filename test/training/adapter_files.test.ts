import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/nn/load.js';
import type { CausalLM } from '../../src/nn/model.js';
import { linear } from '../../src/ops/matmul.js';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { loadAdapter, saveAdapter } from '../../src/training/adapter_files.js';
import { adapterTensors, attachLora, removeAdapters } from '../../src/training/lora_modules.js';
import { expectClose, type GoldenModel, goldenArrays, goldenJson, modelFolder } from '../support/fixtures.js';
import { packed } from '../support/packed.js';
import { readSafetensors } from '../support/safetensors.js';
import { allLinears, readAll } from './student.js';

const goldenAdapter = (name: string) => fileURLToPath(new URL(`../fixtures/adapters/${name}`, import.meta.url));
const options = { rank: 4, alpha: 8, dropout: 0, targetModules: allLinears, rsLora: false, seed: 1 };

describe('adapters', () => {
  let device: Device;
  let folder: string;
  let model: CausalLM;
  const open = async (name: GoldenModel) => {
    model?.dispose();
    ({ model } = await loadModel(modelFolder(name), { device }));
  };
  beforeAll(() => {
    device = Device.open('cpu', { threads: 2 });
  });
  afterAll(() => device.close());
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'adapter-'));
    await open('tied');
  });
  afterEach(async () => {
    model.dispose();
    expect(device.statistics().liveTensors).toBe(0);
    await rm(folder, { recursive: true });
  });

  const logitsOf = async (tokens: number[]): Promise<Float32Array> => {
    using logits = scope(() => linear(model.forward(packed(device, [tokens])), model.outputWeight, 'f32'));
    return await logits.readFloats();
  };

  it.each(['tied', 'linear'] as const)('loads what peft saved for %s and computes what peft computes', async (name) => {
    await open(name);
    await loadAdapter(goldenAdapter(name), model);
    const arrays = goldenArrays(`${name}.lora.safetensors`);
    const { documents } = goldenJson<{ documents: { tokens: number[] }[] }>(`${name}.lora.json`);
    for (const [index, { tokens }] of documents.entries()) {
      expectClose(await logitsOf(tokens), arrays.get(`logits.${index}`)!.data, 1e-5, `logits.${index}`);
    }
  });

  it('writes what peft wrote', async () => {
    await loadAdapter(goldenAdapter('tied'), model);
    await saveAdapter(folder, model, options, 'tied');
    const [ours, theirs] = [folder, goldenAdapter('tied')].map((path) =>
      readSafetensors(join(path, 'adapter_model.safetensors')),
    );
    expect([...ours!.keys()].sort()).toEqual([...theirs!.keys()].sort());
    for (const [key, { shape, data }] of theirs!) {
      expect(ours!.get(key)!.shape).toEqual(shape);
      expect([...ours!.get(key)!.data]).toEqual([...data]);
    }
    const [config, expected] = await Promise.all(
      [folder, goldenAdapter('tied')].map(
        async (path) =>
          JSON.parse(await readFile(join(path, 'adapter_config.json'), 'utf8')) as Record<string, unknown>,
      ),
    );
    for (const [key, value] of Object.entries(config!)) expect(value, key).toEqual(expected![key]);
  });

  it.each([
    ['tied', ['embed_tokens'], ['embed_tokens', 'lm_head']],
    ['linear', ['embed_tokens', 'lm_head', 'model.norm'], ['embed_tokens', 'lm_head', 'model.norm']],
  ] as const)('writes modules that were trained whole as peft does, %s', async (name, modulesToSave, written) => {
    await open(name);
    await loadAdapter(goldenAdapter(`${name}-saved`), model);
    await saveAdapter(folder, model, { ...options, targetModules: ['q_proj', 'v_proj'], modulesToSave }, name);
    const [ours, theirs] = [folder, goldenAdapter(`${name}-saved`)].map((path) =>
      readSafetensors(join(path, 'adapter_model.safetensors')),
    );
    expect([...ours!.keys()].sort()).toEqual([...theirs!.keys()].sort());
    for (const [key, { data }] of theirs!) expect([...ours!.get(key)!.data]).toEqual([...data]);
    const config = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8'));
    expect([...config.modules_to_save].sort()).toEqual(written);
    expect(config.ensure_weight_tying).toBe(name === 'tied');
  });

  it('refuses modules that are not there, adapted too, or missing in the file', async () => {
    attachLora(model, options);
    const save = (modulesToSave: string[]) => saveAdapter(folder, model, { ...options, modulesToSave }, 'tied');
    await expect(save(['embed_token'])).rejects.toThrow(
      /^Expected 'lora.modulesToSave' to name modules of the model but received 'embed_token' \(did you mean 'embed_tokens'\?\)/,
    );
    await expect(save(['q_proj'])).rejects.toThrow(
      /^Expected 'lora.modulesToSave' to name modules without an adapter but 'model.layers.0.self_attn.q_proj' is/,
    );
    await cp(goldenAdapter('tied-saved'), folder, { recursive: true });
    const path = join(folder, 'adapter_config.json');
    const config = JSON.parse(await readFile(path, 'utf8')) as object;
    await writeFile(path, JSON.stringify({ ...config, modules_to_save: ['embed_tokens', 'model.norm'] }));
    await expect(loadAdapter(folder, model)).rejects.toThrow(/Expected the weights of 'model.norm.weight'/);
    await writeFile(path, JSON.stringify({ ...config, modules_to_save: null }));
    await expect(loadAdapter(folder, model)).rejects.toThrow(/'base_model.model.lm_head.weight' matches no module/);
  });

  it('starts as the base model, with A spread as Kaiming-uniform and B zero', async () => {
    const tokens = [1, 5, 9, 3];
    const before = await logitsOf(tokens);
    attachLora(model, { ...options, dropout: 0.5 });
    expect(await logitsOf(tokens)).toEqual(before);
    const tensors = await readAll(adapterTensors(model));
    expect(tensors.size).toBe(2 * model.linears.size);
    for (const [name, values] of tensors) {
      if (name.endsWith('lora_B.weight')) expect(values.every((value) => value === 0)).toBe(true);
      else {
        const bound = 1 / Math.sqrt(values.length / options.rank);
        expect(Math.max(...values)).toBeLessThan(bound);
        expect(Math.max(...values)).toBeGreaterThan(0.8 * bound);
        expect(Math.min(...values)).toBeLessThan(-0.8 * bound);
      }
    }
    const [first, second] = [...tensors.values()].filter((_, index) => index % 2 === 0);
    expect(first).not.toEqual(second);
  });

  it('depends on the seed alone', async () => {
    attachLora(model, options);
    const first = await readAll(adapterTensors(model));
    attachLora(model, options);
    expect(await readAll(adapterTensors(model))).toEqual(first);
    attachLora(model, { ...options, seed: 2 });
    expect(await readAll(adapterTensors(model))).not.toEqual(first);
  });

  it('adapts the named layers alone, and can be taken off', async () => {
    const version = model.weightVersion;
    attachLora(model, { ...options, targetModules: ['mlp.up_proj', 'model.layers.0.self_attn.q_proj'] });
    const names = [...model.linears].filter(([, { adapter }]) => adapter).map(([name]) => name);
    const ups = [...model.linears.keys()].filter((name) => name.endsWith('mlp.up_proj'));
    expect(names.sort()).toEqual(['model.layers.0.self_attn.q_proj', ...ups].sort());
    expect(model.weightVersion).toBeGreaterThan(version);
    removeAdapters(model);
    expect(adapterTensors(model).size).toBe(0);
  });

  it('refuses a target that matches nothing and a rank above the dimension', () => {
    expect(() => attachLora(model, { ...options, targetModules: ['q_porj'] })).toThrow(
      "Expected 'lora.targetModules' to name linear layers of the model but received 'q_porj' (did you mean 'q_proj'?)",
    );
    expect(() => attachLora(model, { ...options, rank: 1000 })).toThrow(
      /Expected 'lora.rank' to be at most \d+.*received 1000/,
    );
  });

  describe('bad files', () => {
    const edit = async (change: (config: Record<string, unknown>) => void): Promise<void> => {
      await cp(goldenAdapter('tied'), folder, { recursive: true });
      const path = join(folder, 'adapter_config.json');
      const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
      change(config);
      await writeFile(path, JSON.stringify(config));
    };

    it.each([
      [{ use_dora: true }, "Expected 'use_dora' to be one of false but received true"],
      [{ bias: 'all' }, 'Expected \'bias\' to be one of none but received "all"'],
      [{ rank_pattern: { q_proj: 8 } }, "received 'rank_pattern' or 'alpha_pattern'"],
      [{ r: 8 }, /Expected '.*lora_A.weight' to have shape \[8, \d+\] but received \[4, \d+\]/],
      [{ peft_type: 'IA3' }, "Expected 'peft_type' to be one of LORA"],
    ])('refuses %j', async (change, message) => {
      await edit((config) => Object.assign(config, change));
      await expect(loadAdapter(folder, model)).rejects.toThrow(message);
      expect(adapterTensors(model).size).toBe(0);
    });

    it('refuses keys that match nothing', async () => {
      await open('sharded');
      await expect(loadAdapter(goldenAdapter('linear'), model)).rejects.toThrow(/to have shape .*base model/);
      await edit(() => {});
      const { writeSafetensors, tensorToWrite } = await import('../../src/weights/safetensors_writer.js');
      using tensor = Tensor.zeros(device, [4, 8]);
      const key = 'base_model.model.model.layers.0.mlp.router.lora_A.weight';
      await writeSafetensors(join(folder, 'adapter_model.safetensors'), [tensorToWrite(key, tensor)]);
      await expect(loadAdapter(folder, model)).rejects.toThrow(
        `'${key}' matches no module of the model that is adapted or saved whole`,
      );
    });

    it('refuses a folder without an adapter', async () => {
      await expect(loadAdapter(folder, model)).rejects.toThrow('Expected the JSON file of a PEFT adapter');
    });
  });
});

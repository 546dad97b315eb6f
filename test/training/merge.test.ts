import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadModel } from '../../src/nn/load.js';
import { linear } from '../../src/ops/matmul.js';
import { Device } from '../../src/tensor/device.js';
import { scope } from '../../src/tensor/scope.js';
import { mergeAdapter } from '../../src/training/merge.js';
import { expectClose, goldenArrays, goldenJson, modelFolder } from '../support/fixtures.js';
import { packed } from '../support/packed.js';
import { readSafetensors } from '../support/safetensors.js';

const adapterFolder = (name: string) => fileURLToPath(new URL(`../fixtures/adapters/${name}`, import.meta.url));

describe('mergeAdapter', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'merge-'));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const merge = (name: 'tied' | 'linear', changes: object = {}) => {
    const output = join(folder, 'merged');
    return mergeAdapter({ model: modelFolder(name), adapter: adapterFolder(name), output, threads: 2, ...changes });
  };

  it.each([
    ['tied', 'tied', 'lora'],
    ['linear', 'linear', 'lora'],
    ['tied', 'tied-saved', 'saved'],
    ['linear', 'linear-saved', 'saved'],
  ] as const)(
    'writes a model that computes what peft computes with the adapter: %s, %s',
    async (name, adapter, golden) => {
      expect((await merge(name, { adapter: adapterFolder(adapter) })).layers).toBeGreaterThan(0);
      const device = Device.open('cpu', { threads: 2 });
      const { model } = await loadModel(join(folder, 'merged'), { device });
      const arrays = goldenArrays(`${name}.${golden}.safetensors`);
      const { documents } = goldenJson<{ documents: { tokens: number[] }[] }>(`${name}.${golden}.json`);
      for (const [index, { tokens }] of documents.entries()) {
        using logits = scope(() => linear(model.forward(packed(device, [tokens])), model.outputWeight, 'f32'));
        expectClose(await logits.readFloats(), arrays.get(`logits.${index}`)!.data, 1e-5, `logits.${index}`);
      }
      await device.close();
    },
  );

  it('changes the adapted layers and nothing else', async () => {
    const { layers, dequantised } = await merge('tied');
    expect(dequantised).toBeNull();
    const before = readSafetensors(join(modelFolder('tied'), 'model.safetensors'));
    const after = readSafetensors(join(folder, 'merged', 'model.safetensors'));
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    const changed = [...before].filter(
      ([name, { data }]) => !Buffer.from(data.buffer).equals(Buffer.from(after.get(name)!.data.buffer)),
    );
    expect(changed).toHaveLength(layers);
    expect(changed.every(([name]) => /(_proj)\.weight$/.test(name))).toBe(true);
  });

  it('rounds once to the dtype that is asked for', async () => {
    await merge('tied', { output: join(folder, 'f32') });
    await merge('tied', { dtype: 'bf16', output: join(folder, 'bf16') });
    const exact = readSafetensors(join(folder, 'f32', 'model.safetensors'));
    for (const [name, { data }] of readSafetensors(join(folder, 'bf16', 'model.safetensors'))) {
      const rounded = Float32Array.from(exact.get(name)!.data, roundToBf16);
      expect(data, name).toEqual(rounded);
    }
    expect(JSON.parse(await readFile(join(folder, 'bf16', 'config.json'), 'utf8'))).toMatchObject({
      dtype: 'bfloat16',
    });
  });

  it.each([
    ['the adapter of another model', { model: modelFolder('linear') }, /is this the adapter's base model\?$/],
    ['a folder without an adapter', { adapter: modelFolder('tied') }, /Expected the JSON file of a PEFT adapter/],
    [
      'its own base as output',
      { output: modelFolder('tied') },
      /Expected a folder of its own for the merged model; choose/,
    ],
  ])('refuses %s in one line and writes nothing', async (_, changes, message) => {
    let received: unknown;
    await merge('tied', changes).catch((error: unknown) => {
      received = error;
    });
    expect((received as Error).message).toMatch(message);
    expect((received as Error).message).not.toContain('\n');
    expect(existsSync(join(folder, 'merged'))).toBe(false);
  });
});

/** To nearest, ties to even. */
function roundToBf16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(Uint32Array.of(rounded).buffer)[0]!;
}

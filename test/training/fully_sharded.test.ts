import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../../src/nn/load.js';
import { Device } from '../../src/tensor/device.js';
import { exportModel, takePartInExport } from '../../src/training/export.js';
import { writeModelWeights } from '../../src/weights/safetensors_writer.js';
import { modelFolder } from '../support/fixtures.js';
import { readSafetensors } from '../support/safetensors.js';
import { expectTrained, randomDocuments, trainOnRanks } from './student.js';

const documents = randomDocuments(40, 60);

describe('fully sharded training', () => {
  it.each([
    ['full', 'tied', 'none'],
    ['full', 'linear', 'layer'],
    ['full', 'bias', 'selective'],
    ['lora', 'tied', 'layer'],
    ['lora', 'linear', 'none'],
  ] as const)(
    'trains as one rank does (%s, %s, activation checkpointing %s)',
    async (method, model, activationCheckpointing) => {
      // Windows of five micro-batches, the last of an epoch of fewer: some ranks have less to do, and must keep step.
      const shape = { gradientAccumulation: 5, sequenceLength: 24, epochs: 3 };
      const settings = { method, model, activationCheckpointing, ...shape };
      const alone = await trainOnRanks(1, settings, documents);
      for (const ranks of [2, 4])
        expectTrained(await trainOnRanks(ranks, { ...settings, sharded: true }, documents), alone);
    },
  );

  // With one micro-batch a rank and no clipping nothing is summed in another order; 8-bit moments and bf16 then agree too.
  it.each([
    ['full', 8, 'f32', 'masters'],
    ['full', 8, 'bf16', 'masters'],
    ['full', 32, 'bf16', 'masters'],
    ['full', 8, 'bf16', 'stochastic rounding'],
    ['full', 32, 'bf16', 'stochastic rounding'],
    ['lora', 8, 'bf16', 'masters'],
  ] as const)(
    'gives the bits that ranks with whole models do (%s, moments of %i bits, %s, %s)',
    async (method, bits, dtype, rounding) => {
      const stochasticRounding = rounding === 'stochastic rounding';
      for (const ranks of [2, 4]) {
        const shape = { gradientAccumulation: ranks, sequenceLength: 40, epochs: 3, maxGradNorm: 0 };
        const activationCheckpointing = 'layer';
        const common = { method, bits, dtype, stochasticRounding, activationCheckpointing } as const;
        const settings = { ...common, model: 'tied', ...shape };
        const [whole] = await trainOnRanks(ranks, settings, documents);
        for (const part of await trainOnRanks(ranks, { ...settings, sharded: true }, documents)) {
          expect(part.losses).toEqual(whole!.losses);
          for (const [name, values] of whole!.weights) expect(part.weights.get(name), name).toEqual(values);
        }
      }
    },
  );

  // Memory of these devices is filled with NaN when it is given back.
  it.each([
    ['cpu-chaos', 'selective', 10],
    ['cpu-chaos', 'layer', 10],
    ['cuda-emulated', 'layer', 2],
  ] as const)(
    'uses no weight that was given back, on %s, activation checkpointing %s, in %i steps',
    async (device, activationCheckpointing, steps) => {
      const shape = { gradientAccumulation: 3, sequenceLength: 24, epochs: 1 };
      const settings = { method: 'full', model: 'linear', device, activationCheckpointing, ...shape } as const;
      const few = randomDocuments(7 * steps, 60);
      const alone = await trainOnRanks(1, settings, few);
      expectTrained(await trainOnRanks(2, { ...settings, sharded: true }, few), alone, steps);
    },
  );

  it("reads only the rows of a rank's own part from the files", async () => {
    // Fresh memory of this device is NaN: what was not read stays so.
    const device = Device.open('cpu-chaos', { threads: 1 });
    const stored = readSafetensors(join(modelFolder('tied'), 'model.safetensors'));
    const seen: Promise<void>[] = [];
    const { model } = await loadModel(modelFolder('tied'), {
      device,
      place: (name, weight) => {
        const { shape, data } = stored.get(name)!;
        const columns = shape.at(-1)!;
        const [first, last] = shape.length === 1 ? [0, 9] : [Math.floor(100 / columns), Math.floor(109 / columns)];
        const read = weight.readFloats().then((values) => {
          for (const [index, value] of values.entries()) {
            const row = shape.length === 1 ? index : Math.floor(index / columns);
            const own = shape.length === 1 ? index < 10 : row >= first && row <= last;
            if (own ? value !== data[index] : !Number.isNaN(value)) throw new Error(`${name}: ${index} is ${value}`);
          }
        });
        seen.push(read);
      },
      looksAt: (elements) => ({ first: elements > 64 ? 100 : 0, count: 10 }),
    });
    await Promise.all(seen);
    expect(seen).toHaveLength(stored.size);
    model.dispose();
    await device.close();
  });

  /** The tied golden model with its layers again and again. */
  async function deepModel(folder: string, layers: number): Promise<string> {
    const source = modelFolder('tied');
    const config = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8'));
    writeFileSync(join(folder, 'config.json'), JSON.stringify({ ...config, num_hidden_layers: layers }));
    const stored = [...readSafetensors(join(source, 'model.safetensors'))];
    const tensors = stored.flatMap(([name, { shape, data }]) => {
      const read = async () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      const written = (as: string) => ({ name: as, dtype: 'F32' as const, shape, read });
      const own = /\.layers\.(\d+)\./.exec(name)?.[1];
      if (own === undefined) return [written(name)];
      const copies = Array.from({ length: layers }, (_, index) => index).filter((index) => index % 2 === Number(own));
      return copies.map((index) => written(name.replace(`.${own}.`, `.${index}.`)));
    });
    await writeModelWeights(folder, tensors);
    return folder;
  }

  it('takes a part of the memory, from loading to the exported model', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'deep-'));
    try {
      const model = await deepModel(folder, 16);
      const shape = { gradientAccumulation: 4, sequenceLength: 24, epochs: 1 };
      const settings = { method: 'full', model, activationCheckpointing: 'layer', ...shape } as const;
      const exported = (ranks: number) =>
        trainOnRanks(ranks, { ...settings, sharded: ranks > 1 }, documents.slice(0, 12), async (student, rank) => {
          const { model: trained, files, shards = null } = student;
          if (rank === 0) await exportModel(join(folder, `on-${ranks}`), trained, files, { shards });
          else takePartInExport(trained, shards!);
          await trained.device.synchronize();
        });
      const [[alone], four] = [await exported(1), await exported(4)];
      for (const { peakBytes } of four) expect(peakBytes / alone!.peakBytes).toBeLessThan(0.45);
      const written = readSafetensors(join(folder, 'on-4', 'model.safetensors'));
      expect(written.size).toBe(four[0]!.weights.size);
      for (const [name, values] of four[0]!.weights) expect(written.get(name)!.data, name).toEqual(values);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadTrainConfig, parseTrainConfig } from '../../src/training/config.js';

const required = { model: 'm', data: 'd.jsonl', output: 'o' };

describe('parseTrainConfig', () => {
  it('fills in the defaults of the paper', () => {
    const config = parseTrainConfig(required);
    expect(config).toMatchObject({
      data: ['d.jsonl'],
      sequenceLength: 16_384,
      method: 'lora',
      lora: { rank: 64, alpha: 64, dropout: 0.05, rsLora: false },
      schedule: 'cosine',
      warmupRatio: 0.1,
      epochs: 1,
      microBatch: 1,
      gradientAccumulation: 8,
      optimizer: 'adamw_8bit',
      betas: [0.9, 0.999],
      eps: 1e-8,
      weightDecay: 0,
      maxGradNorm: 1,
      activationCheckpointing: 'layer',
      overlong: 'drop',
      dtype: 'f32',
    });
    expect(config.lora.targetModules).toHaveLength(7);
  });

  it('lets defaults follow other settings', () => {
    expect(parseTrainConfig({ ...required, lora: { rank: 8 } }).lora.alpha).toBe(8);
    expect(parseTrainConfig({ ...required, lora: { rank: 8, alpha: 16 } }).lora.alpha).toBe(16);
    expect(parseTrainConfig(required).learningRate).toBe(2e-4);
    expect(parseTrainConfig({ ...required, method: 'full' }).learningRate).toBe(2e-5);
    expect(parseTrainConfig({ ...required, device: 'cuda:0' }).dtype).toBe('bf16');
  });

  it.each([
    [{ ...required, lerningRate: 1 }, "t.yaml: Unknown key 'lerningRate' (did you mean 'learningRate'?)"],
    [{ ...required, lora: { rnak: 8 } }, "t.yaml: Unknown key 'lora.rnak' (did you mean 'rank'?)"],
    [{ ...required, learningRate: '1e-4' }, 't.yaml: Expected \'learningRate\' to be a number but received "1e-4"'],
    [{ ...required, learningRate: 0 }, "t.yaml: Expected 'learningRate' to be > 0 but received 0"],
    [{ ...required, epochs: 1.5 }, "t.yaml: Expected 'epochs' to be an integer but received 1.5"],
    [{ ...required, method: 'qlora' }, 't.yaml: Expected \'method\' to be one of lora, full but received "qlora"'],
    [{ ...required, lora: { dropout: 1 } }, "t.yaml: Expected 'lora.dropout' to be < 1 but received 1"],
    [{ data: 'd', output: 'o' }, "t.yaml: Expected 'model' to be a string but received nothing"],
    [{ ...required, data: 5 }, "t.yaml: Expected 'data' to be a string but received 5"],
    [{ ...required, data: [] }, "t.yaml: Expected 'data' to be non-empty (at least 1 long) but received []"],
    [null, 't.yaml: Expected the top level to be an object but received null'],
    [
      { ...required, method: 'full', stochasticRounding: true },
      "Expected 'stochasticRounding' to be false without 'method: full' and 'dtype: bf16'",
    ],
    [{ ...required, mesh: { dp: 9 } }, "Expected 'mesh.dp' to be at most 'gradientAccumulation', 8"],
    [{ ...required, fullyShard: true }, "Expected 'fullyShard' to be false on one device"],
  ])('refuses %j in one line', (settings, message) => {
    let received = '';
    try {
      parseTrainConfig(settings, 't.yaml');
    } catch (error) {
      received = (error as Error).message;
    }
    expect(received).toContain(message);
    expect(received).not.toContain('\n');
  });
});

describe('loadTrainConfig', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'train-config-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('reads YAML', async () => {
    const file = join(folder, 'good.yaml');
    await writeFile(file, 'model: m\ndata: [a.jsonl, b.jsonl]\noutput: o\nlora:\n  rank: 4\n');
    expect(await loadTrainConfig(file)).toMatchObject({ data: ['a.jsonl', 'b.jsonl'], lora: { rank: 4, alpha: 4 } });
  });

  it('names the line of a syntax error and a missing file', async () => {
    const file = join(folder, 'bad.yaml');
    await writeFile(file, 'model: m\ndata: [a\noutput: o\n');
    await expect(loadTrainConfig(file)).rejects.toThrow(/bad\.yaml:\d+: Expected valid YAML/);
    await expect(loadTrainConfig(join(folder, 'absent.yaml'))).rejects.toThrow(
      'absent.yaml: Expected a readable YAML file',
    );
  });
});

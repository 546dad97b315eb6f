import { describe, expect, it } from 'vitest';
import { formatBytes, GPU_SHARE, type KvPlanOptions, planKvCache } from '../../src/engine/kv_plan.js';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
/** 2 · 2 · 8 · 64 elements a token: 8 KiB in f32. */
const model = { numLayers: 2, numKvHeads: 8, headDim: 64, maxPositionEmbeddings: 4096 };

describe('planKvCache', () => {
  it('takes the bytes that are asked for, in whole blocks', () => {
    const plan = planKvCache(model, 'f32', 64, GIB, { kvCacheBytes: 100 * MIB + 5 });
    expect(plan).toMatchObject({
      blocks: 800,
      blockSize: 16,
      bytes: 100 * MIB,
      bytesPerToken: 16384 / 2,
      maxModelLen: 4096,
    });
    expect(plan.report).toBe('KV cache 100 MiB (as asked for): 12800 tokens in 800 blocks of 16; context 4096 tokens');
  });

  it('takes a share of what is free', () => {
    expect(planKvCache(model, 'f32', 64, GIB, { kvCacheFraction: 0.5 }).bytes).toBe(GIB / 2);
    expect(planKvCache(model, 'f32', 64, GIB).bytes).toBe(GIB / 4);
    expect(planKvCache(model, 'f32', 1000, 64 * GIB).bytes).toBe(2 * GIB);
    expect(planKvCache(model, 'f32', 10_000, 10 * GIB, {}, GPU_SHARE).bytes).toBe(9 * GIB);
  });

  it('takes no more than the sequences can use', () => {
    const plan = planKvCache(model, 'bf16', 2, 64 * GIB, { maxModelLen: 100, kvCacheFraction: 1, blockSize: 8 });
    expect(plan.blocks).toBe(2 * 13);
    expect(plan.report).toContain('all that 2 sequences can use');
  });

  it('takes a byte for each number in fp8, and says so', () => {
    const [auto, fp8] = (['auto', 'fp8'] as const).map((kvCacheDtype) =>
      planKvCache(model, 'bf16', 64, GIB, { kvCacheDtype, kvCacheBytes: 100 * MIB }),
    );
    expect([auto!.dtype, fp8!.dtype]).toEqual(['bf16', 'fp8']);
    expect(fp8!.bytesPerToken).toBe(2 * 2 * 8 * 64);
    expect(fp8!.blocks).toBe(2 * auto!.blocks);
    expect(fp8!.report).toMatch(/^KV cache in fp8 100 MiB/);
  });

  it('shortens the context by default where memory is short, and says so', () => {
    const plan = planKvCache(model, 'f32', 64, GIB, { kvCacheBytes: MIB });
    expect(plan.maxModelLen).toBe(128);
    expect(plan.report).toContain("context 128 tokens of the model's 4096");
  });

  it('refuses a context that does not fit when that was asked for', () => {
    expect(() => planKvCache(model, 'f32', 64, GIB, { kvCacheBytes: MIB, maxModelLen: 4096 })).toThrow(
      "Expected 'kvCacheBytes' to be enough for one sequence of 4096 tokens (32 MiB) but received 1048576, which is 1.0 MiB; give more or lower 'maxModelLen'",
    );
    expect(() => planKvCache(model, 'f32', 64, 1000)).toThrow(
      "Expected 'kvCacheFraction' to be enough for one sequence of 2 tokens",
    );
  });

  it('refuses more than is there, but not where less will do', () => {
    expect(() => planKvCache(model, 'f32', 64, GIB, { kvCacheBytes: 2 * GIB })).toThrow(
      "Expected 'kvCacheBytes' to be at most the memory that is free (1.0 GiB) but received 2147483648, which is 2.0 GiB",
    );
    expect(planKvCache(model, 'f32', 2, GIB, { kvCacheBytes: 2 * GIB }).bytes).toBe(64 * MIB);
  });

  it.each([
    [{ blockSize: 0 }, "'blockSize'"],
    [{ kvCacheDtype: 'int8' }, "Expected 'kvCacheDtype' to be 'auto' or 'fp8' but received \"int8\""],
    [{ maxModelLen: 1 }, "'maxModelLen'"],
    [{ maxModelLen: 5000 }, "Expected 'maxModelLen' to be at most the model's context (4096) but received 5000"],
    [{ kvCacheBytes: -1 }, "'kvCacheBytes' to be over 0"],
    [{ kvCacheFraction: 1.5 }, "'kvCacheFraction' to be over 0 and at most 1"],
  ])('refuses %j', (options, message) => {
    expect(() => planKvCache(model, 'f32', 64, GIB, options as KvPlanOptions)).toThrow(message);
  });
});

describe('formatBytes', () => {
  it('is short', () => {
    expect([10, 1536, 100 * MIB, 1.5 * GIB, 20 * GIB].map(formatBytes)).toEqual([
      '10 B',
      '1.5 KiB',
      '100 MiB',
      '1.5 GiB',
      '20 GiB',
    ]);
  });
});

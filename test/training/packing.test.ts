import { beforeAll, describe, expect, it } from 'vitest';
import { assembleBatch, type PackingPlan, packDocuments, planWindows } from '../../src/training/packing.js';
import { Purpose, randomWord, uniform } from '../../src/training/philox.js';

function documentsOf(lengths: readonly number[]) {
  const trained = lengths.map((length) => Math.floor(length / 2));
  return { count: lengths.length, lengths: Uint32Array.from(lengths), trained: Uint32Array.from(trained) };
}

/** What a plan holds, as plain values. */
function packsOf(plan: PackingPlan) {
  return [...plan.packs()].map((pack) => ({ ...pack, documents: [...pack.documents] }));
}

/** Log-normal lengths with a mean near 2,200 tokens, cut at 16,384, as long reasoning traces are distributed. */
function traceLengths(count: number, seed: number): number[] {
  const uniforms = uniform(seed, Purpose.loraInit, 0, 2 * count, 2 ** -24, 1);
  return Array.from({ length: count }, (_, index) => {
    const radius = Math.sqrt(-2 * Math.log(uniforms[2 * index]!));
    const normal = radius * Math.cos(2 * Math.PI * uniforms[2 * index + 1]!);
    return Math.max(1, Math.min(16_384, Math.round(Math.exp(7.3 + 0.9 * normal))));
  });
}

describe('packDocuments', () => {
  it.each([1, 2, 3])('fills at least 97 %% of the room with trace-like lengths (seed %i)', async (seed) => {
    const lengths = traceLengths(2000, seed);
    const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
    expect(mean).toBeGreaterThan(1800);
    expect(mean).toBeLessThan(2600);
    expect((await packDocuments(documentsOf(lengths), 16_384, seed, 0)).efficiency).toBeGreaterThanOrEqual(0.97);
  });

  it('loses nothing, doubles nothing and never overfills, for any lengths', async () => {
    for (let trial = 0; trial < 200; ++trial) {
      const capacity = 1 + (randomWord(trial, Purpose.shuffle, 1, 0) % 50);
      const count = randomWord(trial, Purpose.shuffle, 1, 1) % 60;
      const lengths = Array.from(
        { length: count },
        (_, index) => 1 + (randomWord(trial, Purpose.shuffle, 2, index) % capacity),
      );
      const documents = documentsOf(lengths);
      const plan = await packDocuments(documents, capacity, trial, 0);
      const seen = packsOf(plan)
        .flatMap((pack) => pack.documents)
        .sort((a, b) => a - b);
      expect(seen).toEqual(Array.from({ length: count }, (_, index) => index));
      for (const pack of packsOf(plan)) {
        expect(pack.tokens).toBe(pack.documents.reduce((sum, index) => sum + lengths[index]!, 0));
        expect(pack.trained).toBe(pack.documents.reduce((sum, index) => sum + documents.trained[index]!, 0));
        expect(pack.tokens).toBeLessThanOrEqual(capacity);
      }
      expect(plan.tokens).toBe(lengths.reduce((sum, length) => sum + length, 0));
    }
  });

  it('chooses the same bins as best-fit decreasing done the slow way', async () => {
    for (let trial = 0; trial < 50; ++trial) {
      const lengths = Array.from({ length: 40 }, (_, index) => 1 + (randomWord(trial, Purpose.shuffle, 3, index) % 37));
      const rooms: number[] = [];
      for (const length of [...lengths].sort((a, b) => b - a)) {
        let best = -1;
        for (let bin = 0; bin < rooms.length; ++bin) {
          if (rooms[bin]! >= length && (best < 0 || rooms[bin]! < rooms[best]!)) best = bin;
        }
        if (best < 0) rooms.push(40 - length);
        else rooms[best]! -= length;
      }
      const plan = await packDocuments(documentsOf(lengths), 40, trial, 0);
      const filled = packsOf(plan)
        .map((pack) => 40 - pack.tokens)
        .sort((a, b) => a - b);
      expect(filled).toEqual(rooms.sort((a, b) => a - b));
    }
  });

  it('is decided by seed and epoch, with as many packs in every epoch', async () => {
    const documents = documentsOf(Array.from({ length: 300 }, (_, index) => 1 + (index % 30)));
    const pack = async (seed: number, epoch: number) => packsOf(await packDocuments(documents, 64, seed, epoch));
    const first = await pack(5, 0);
    expect(await pack(5, 0)).toEqual(first);
    const second = await pack(5, 1);
    expect(second).not.toEqual(first);
    expect(second).toHaveLength(first.length);
    expect(await pack(6, 0)).not.toEqual(first);
  });

  it('accepts no documents and refuses one that does not fit', async () => {
    const nothing = await packDocuments(documentsOf([]), 8, 0, 0);
    expect(nothing).toMatchObject({ count: 0, tokens: 0, trained: 0, efficiency: 0 });
    expect(packsOf(nothing)).toEqual([]);
    await expect(packDocuments(documentsOf([9]), 8, 0, 0)).rejects.toThrow(
      "Expected 'documents[0]' to have 1 to 8 tokens but received 9",
    );
  });
});

describe('assembleBatch', () => {
  it('restarts positions at each document', () => {
    const batch = assembleBatch([
      { tokens: Int32Array.of(7, 8, 9), targets: Int32Array.of(-1, 9, -1) },
      { tokens: Int32Array.of(4), targets: Int32Array.of(-1) },
      { tokens: Int32Array.of(5, 6), targets: Int32Array.of(6, -1) },
    ]);
    expect([...batch.tokens]).toEqual([7, 8, 9, 4, 5, 6]);
    expect([...batch.targets]).toEqual([-1, 9, -1, -1, 6, -1]);
    expect([...batch.positions]).toEqual([0, 1, 2, 0, 0, 1]);
    expect([...batch.cuSeqlens]).toEqual([0, 3, 4, 6]);
  });
});

describe('planWindows', () => {
  let plan: PackingPlan;
  beforeAll(async () => {
    plan = await packDocuments(documentsOf(Array.from({ length: 50 }, (_, index) => 10 + (index % 5))), 30, 1, 0);
  });

  it('covers every pack once and knows tokens and trained tokens beforehand', () => {
    const windows = [...planWindows(plan, 2, 4)];
    expect(windows.flatMap((window) => window.microBatches.flatMap((batch) => batch.packs))).toEqual([...plan.packs()]);
    expect(windows).toHaveLength(Math.ceil(plan.count / 8));
    for (const window of windows) {
      const inside = window.microBatches.flatMap((batch) => batch.packs);
      expect(window.tokens).toBe(inside.reduce((sum, pack) => sum + pack.tokens, 0));
      expect(window.trained).toBe(inside.reduce((sum, pack) => sum + pack.trained, 0));
      expect(window.tokens).toBe(window.microBatches.reduce((sum, batch) => sum + batch.tokens, 0));
    }
  });

  it('gives the same windows however they are cut into micro-batches', () => {
    const wide = [...planWindows(plan, 8, 1)];
    const narrow = [...planWindows(plan, 1, 8)];
    expect(narrow.map((window) => window.microBatches.flatMap((batch) => batch.packs))).toEqual(
      wide.map((window) => window.microBatches.flatMap((batch) => batch.packs)),
    );
    expect(narrow.map((window) => window.trained)).toEqual(wide.map((window) => window.trained));
  });
});

import { describe, expect, it } from 'vitest';
import { assembleBatch, packDocuments, planWindows } from '../../src/training/packing.js';
import { Purpose, randomWord, uniform } from '../../src/training/philox.js';

function documentsOf(lengths: readonly number[]) {
  return lengths.map((length) => ({
    tokens: new Int32Array(length).fill(length),
    targets: new Int32Array(length).fill(-1),
    trained: Math.floor(length / 2),
  }));
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
  it.each([1, 2, 3])('fills at least 97 %% of the room with trace-like lengths (seed %i)', (seed) => {
    const lengths = traceLengths(2000, seed);
    const mean = lengths.reduce((sum, length) => sum + length, 0) / lengths.length;
    expect(mean).toBeGreaterThan(1800);
    expect(mean).toBeLessThan(2600);
    expect(packDocuments(documentsOf(lengths), 16_384, seed, 0).efficiency).toBeGreaterThanOrEqual(0.97);
  });

  it('loses nothing, doubles nothing and never overfills, for any lengths', () => {
    for (let trial = 0; trial < 200; ++trial) {
      const capacity = 1 + (randomWord(trial, Purpose.shuffle, 1, 0) % 50);
      const count = randomWord(trial, Purpose.shuffle, 1, 1) % 60;
      const lengths = Array.from(
        { length: count },
        (_, index) => 1 + (randomWord(trial, Purpose.shuffle, 2, index) % capacity),
      );
      const documents = documentsOf(lengths);
      const plan = packDocuments(documents, capacity, trial, 0);
      const seen = plan.packs.flatMap((pack) => pack.documents).sort((a, b) => a - b);
      expect(seen).toEqual(Array.from({ length: count }, (_, index) => index));
      for (const pack of plan.packs) {
        expect(pack.tokens).toBe(pack.documents.reduce((sum, index) => sum + lengths[index]!, 0));
        expect(pack.trained).toBe(pack.documents.reduce((sum, index) => sum + documents[index]!.trained, 0));
        expect(pack.tokens).toBeLessThanOrEqual(capacity);
      }
      expect(plan.tokens).toBe(lengths.reduce((sum, length) => sum + length, 0));
    }
  });

  it('chooses the same bins as best-fit decreasing done the slow way', () => {
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
      const plan = packDocuments(documentsOf(lengths), 40, trial, 0);
      const filled = plan.packs.map((pack) => 40 - pack.tokens).sort((a, b) => a - b);
      expect(filled).toEqual(rooms.sort((a, b) => a - b));
    }
  });

  it('is decided by seed and epoch, with as many packs in every epoch', () => {
    const documents = documentsOf(Array.from({ length: 300 }, (_, index) => 1 + (index % 30)));
    const first = packDocuments(documents, 64, 5, 0);
    expect(packDocuments(documents, 64, 5, 0)).toEqual(first);
    const second = packDocuments(documents, 64, 5, 1);
    expect(second.packs).not.toEqual(first.packs);
    expect(second.packs).toHaveLength(first.packs.length);
    expect(packDocuments(documents, 64, 6, 0).packs).not.toEqual(first.packs);
  });

  it('accepts no documents and refuses one that does not fit', () => {
    expect(packDocuments([], 8, 0, 0)).toEqual({ packs: [], tokens: 0, trained: 0, efficiency: 0 });
    expect(() => packDocuments(documentsOf([9]), 8, 0, 0)).toThrow(
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
  const packs = packDocuments(documentsOf(Array.from({ length: 50 }, (_, index) => 10 + (index % 5))), 30, 1, 0).packs;

  it('covers every pack once and knows tokens and trained tokens beforehand', () => {
    const windows = planWindows(packs, 2, 4);
    expect(windows.flatMap((window) => window.microBatches.flatMap((batch) => batch.packs))).toEqual(packs);
    expect(windows).toHaveLength(Math.ceil(packs.length / 8));
    for (const window of windows) {
      const inside = window.microBatches.flatMap((batch) => batch.packs);
      expect(window.tokens).toBe(inside.reduce((sum, pack) => sum + pack.tokens, 0));
      expect(window.trained).toBe(inside.reduce((sum, pack) => sum + pack.trained, 0));
      expect(window.tokens).toBe(window.microBatches.reduce((sum, batch) => sum + batch.tokens, 0));
    }
  });

  it('gives the same windows however they are cut into micro-batches', () => {
    const wide = planWindows(packs, 8, 1);
    const narrow = planWindows(packs, 1, 8);
    expect(narrow.map((window) => window.microBatches.flatMap((batch) => batch.packs))).toEqual(
      wide.map((window) => window.microBatches.flatMap((batch) => batch.packs)),
    );
    expect(narrow.map((window) => window.trained)).toEqual(wide.map((window) => window.trained));
  });
});

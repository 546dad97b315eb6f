import { describe, expect, it } from 'vitest';
import { type BlockCopy, type BlockHolder, BlockManager } from '../../src/engine/block_manager.js';

interface Holder extends BlockHolder {
  tokens: Int32Array;
  length: number;
  salt: string;
  usesPrefixCache: boolean;
}

function holder(tokens: number[], salt = ''): Holder {
  return {
    tokens: Int32Array.from(tokens),
    length: tokens.length,
    get end() {
      return this.length;
    },
    computed: 0,
    blocks: [],
    hashes: [],
    published: 0,
    shareable: Number.POSITIVE_INFINITY,
    salt,
    usesPrefixCache: true,
  };
}

const count = (from: number, length: number) => Array.from({ length }, (_, i) => from + i);

/** Admits, computes and publishes. */
function compute(blocks: BlockManager, sequence: Holder): void {
  expect(blocks.admit(sequence)).toBe(true);
  sequence.computed = sequence.length;
  blocks.publish(sequence, sequence.computed);
}

describe('BlockManager', () => {
  it('hands out and takes back', () => {
    const blocks = new BlockManager(4, 4);
    const a = holder(count(0, 9));
    expect(blocks.admit(a)).toBe(true);
    expect(a.blocks).toEqual([0, 1, 2]);
    expect([blocks.freeBlocks, blocks.cachedBlocks, blocks.usedBlocks]).toEqual([1, 0, 3]);
    const b = holder(count(100, 5));
    expect(blocks.admit(b)).toBe(false);
    expect(b.blocks).toEqual([]);
    blocks.checkIntegrity([a, b]);
    blocks.release(a);
    expect(blocks.freeBlocks).toBe(4);
    blocks.checkIntegrity([]);
  });

  it('keeps the reserve', () => {
    const blocks = new BlockManager(4, 4);
    expect(blocks.admit(holder(count(0, 12)), 2)).toBe(false);
    expect(blocks.admit(holder(count(0, 8)), 2)).toBe(true);
  });

  it('finds a published prefix again and leaves one token to compute', () => {
    const blocks = new BlockManager(8, 4);
    const a = holder(count(0, 8));
    compute(blocks, a);
    blocks.release(a);
    expect([blocks.freeBlocks, blocks.cachedBlocks]).toEqual([6, 2]);
    const same = holder(count(0, 8));
    expect(blocks.admit(same)).toBe(true);
    expect(same.computed).toBe(4); // not 8: the last token gives the logits
    const longer = holder([...count(0, 8), 1, 2]);
    expect(blocks.admit(longer)).toBe(true);
    expect(longer.computed).toBe(8);
    expect(longer.blocks[0]).toBe(same.blocks[0]);
    expect([blocks.queriedTokens, blocks.hitTokens]).toEqual([8 + 8 + 10, 12]);
    blocks.checkIntegrity([same, longer]);
  });

  it('never shares what was not published', () => {
    const blocks = new BlockManager(8, 4);
    const a = holder(count(0, 9));
    blocks.admit(a);
    a.computed = 9;
    const b = holder(count(0, 9));
    blocks.admit(b);
    expect(b.computed).toBe(0);
    blocks.release(a);
    expect(blocks.cachedBlocks).toBe(0);
    blocks.checkIntegrity([b]);
  });

  it('shares neither another chain, nor under another salt, nor with who bypasses the cache', () => {
    const blocks = new BlockManager(16, 4);
    compute(blocks, holder(count(0, 8)));
    const otherStart = holder([9, 1, 2, 3, 4, 5, 6, 7, 8]); // its second block equals the first one's
    blocks.admit(otherStart);
    expect(otherStart.computed).toBe(0);
    const otherSalt = holder(count(0, 9), 'adapter');
    blocks.admit(otherSalt);
    expect(otherSalt.computed).toBe(0);
    const bypassing = { ...holder(count(0, 9)), usesPrefixCache: false };
    blocks.admit(bypassing);
    expect(bypassing.computed).toBe(0);
    const off = new BlockManager(16, 4, false);
    compute(off, holder(count(0, 8)));
    const again = holder(count(0, 9));
    off.admit(again);
    expect([again.computed, off.queriedTokens]).toEqual([0, 0]);
  });

  it('evicts the least recently used, and the end of a prefix before its start', () => {
    const blocks = new BlockManager(4, 4);
    const [old, recent] = [holder(count(0, 8)), holder(count(50, 8))];
    compute(blocks, old);
    compute(blocks, recent);
    blocks.release(old);
    blocks.release(recent);
    expect(blocks.cachedBlocks).toBe(4);
    const one = holder(count(90, 3));
    blocks.admit(one);
    expect(blocks.evictions).toBe(1);
    blocks.checkIntegrity([one]);
    blocks.release(one);
    const oldAgain = holder(count(0, 9));
    blocks.admit(oldAgain);
    expect(oldAgain.computed).toBe(4); // its second block went
    blocks.release(oldAgain);
    blocks.checkIntegrity([]);
  });

  it('counts revived blocks as taken', () => {
    const blocks = new BlockManager(3, 4);
    const a = holder(count(0, 8));
    compute(blocks, a);
    blocks.release(a); // 1 free, 2 cached
    const b = holder(count(0, 16)); // would revive 2 and need 2 more
    expect(blocks.admit(b)).toBe(false);
    blocks.checkIntegrity([b]);
    expect(blocks.cachedBlocks).toBe(2);
  });

  it('copies a shared block when one of its holders writes, not when the last one does', () => {
    const blocks = new BlockManager(8, 4);
    const parent = holder(count(0, 6));
    compute(blocks, parent);
    const child = holder(count(0, 6));
    blocks.fork(parent, child);
    expect(child.blocks).toEqual(parent.blocks);
    const shared = parent.blocks[1]!;
    for (const sequence of [parent, child]) {
      sequence.tokens = Int32Array.from([...count(0, 6), 99]);
      sequence.length = 7;
    }
    const copies: BlockCopy[] = [];
    expect(blocks.append(parent, copies)).toBe(true);
    expect(copies).toEqual([{ from: shared, to: parent.blocks[1]! }]);
    expect(blocks.append(child, copies)).toBe(true);
    expect(copies).toHaveLength(1);
    expect(child.blocks[1]).toBe(shared);
    expect(parent.blocks[0]).toBe(child.blocks[0]);
    expect(blocks.copiesOnWrite).toBe(1);
    blocks.checkIntegrity([parent, child]);
    blocks.release(parent);
    blocks.release(child);
    blocks.checkIntegrity([]);
  });

  it('grows by a block at a boundary and says when there is none', () => {
    const blocks = new BlockManager(1, 2);
    const a = holder([1, 2]);
    blocks.admit(a);
    a.tokens = Int32Array.from([1, 2, 3]);
    a.length = 3;
    expect(blocks.append(a, [])).toBe(false);
    expect(a.blocks).toEqual([0]);
  });

  it('publishes one copy of what two sequences computed', () => {
    const blocks = new BlockManager(8, 4);
    const [a, b] = [holder(count(0, 4)), holder(count(0, 4))];
    blocks.admit(a);
    blocks.admit(b);
    for (const sequence of [a, b]) {
      sequence.computed = 4;
      blocks.publish(sequence, sequence.computed);
    }
    blocks.release(a);
    blocks.release(b);
    expect([blocks.freeBlocks, blocks.cachedBlocks]).toEqual([7, 1]);
    blocks.checkIntegrity([]);
  });

  it('forgets all content on clearCache, while holders keep their blocks', () => {
    const blocks = new BlockManager(8, 4);
    const [a, b] = [holder(count(0, 8)), holder(count(50, 8))];
    compute(blocks, a);
    compute(blocks, b);
    blocks.release(b);
    blocks.clearCache();
    blocks.checkIntegrity([a]);
    expect([blocks.freeBlocks, blocks.cachedBlocks, blocks.usedBlocks]).toEqual([6, 0, 2]);
    const again = holder(count(0, 8));
    blocks.admit(again);
    expect(again.computed).toBe(0);
    blocks.release(a);
    expect(blocks.cachedBlocks).toBe(0);
  });

  it('notices when the books are wrong', () => {
    const blocks = new BlockManager(4, 4);
    const a = holder(count(0, 8));
    blocks.admit(a);
    expect(() => blocks.checkIntegrity([])).toThrow('block 0 counts 1 references but 0 sequences hold it');
    expect(() => blocks.checkIntegrity([a, a])).toThrow('counts 1 references but 2 sequences');
  });
});

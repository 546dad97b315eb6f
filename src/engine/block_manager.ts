import { extendBlockHashes } from './block_hash.js';
import { BlockList } from './block_list.js';

/** What the block manager knows of a sequence. */
export interface BlockHolder {
  readonly tokens: Int32Array;
  /** Known tokens: prompt and output. */
  readonly length: number;
  /** These and the tokens that steps in progress sample. */
  readonly end: number;
  /** Leading tokens whose keys and values are in `blocks`, or will be once the steps in progress are over. */
  computed: number;
  /** Block b holds tokens [b·blockSize, (b+1)·blockSize). */
  readonly blocks: number[];
  /** Chained hashes of the leading full blocks, as far as they were needed. */
  readonly hashes: string[];
  /** Leading blocks that have been offered to the prefix cache. */
  published: number;
  /** Only blocks of so many leading tokens are taken from others or given to them. */
  readonly shareable: number;
  /** Starts the hash chain: what keys and values depend on beside the tokens. */
  readonly salt: string;
  /** False: neither looks its prefix up in the cache nor shares what it computes. */
  readonly usesPrefixCache: boolean;
}

/** A block whose content must be copied before the next forward pass. */
export interface BlockCopy {
  readonly from: number;
  readonly to: number;
}

/**
 * Who holds which block of the paged KV cache. Plain bookkeeping. A block is in one of three states:
 * - used: held by one or more sequences (reference count over 0), with or without a hash;
 * - cached: held by nobody, its content found by hash, evicted in least-recently-used order when free ones run out;
 * - free: without content.
 *
 * Blocks enter the cache when `publish` says that their content is sound, never by being written alone.
 */
export class BlockManager {
  readonly total: number;
  readonly blockSize: number;
  readonly prefixCaching: boolean;
  /** Prompt tokens looked up in the prefix cache and found there. */
  queriedTokens = 0;
  hitTokens = 0;
  evictions = 0;
  copiesOnWrite = 0;

  private readonly references: Int32Array;
  private readonly free: number[];
  private readonly cached: BlockList;
  private readonly byHash = new Map<string, number>();
  private readonly hashOf: (string | null)[];
  /** By hash, who is computing a full block that is not published yet. */
  private readonly inProgress = new Map<string, BlockHolder>();

  constructor(total: number, blockSize: number, prefixCaching = true) {
    this.total = total;
    this.blockSize = blockSize;
    this.prefixCaching = prefixCaching;
    this.references = new Int32Array(total);
    this.free = Array.from({ length: total }, (_, i) => total - 1 - i); // a stack: block 0 goes first
    this.cached = new BlockList(total);
    this.hashOf = new Array<string | null>(total).fill(null);
  }

  /** Blocks that can be handed out now: free and cached ones. */
  get available(): number {
    return this.free.length + this.cached.size;
  }

  get freeBlocks(): number {
    return this.free.length;
  }

  get cachedBlocks(): number {
    return this.cached.size;
  }

  get usedBlocks(): number {
    return this.total - this.available;
  }

  blocksFor(tokens: number): number {
    return Math.ceil(tokens / this.blockSize);
  }

  /**
   * Gives a sequence blocks for all its known tokens, the leading ones from the prefix cache where it has them; `computed` says how far.
   * At least one token is left to compute, since only that gives logits.
   *
   * @param reserve blocks that must stay available afterwards.
   * @returns false, having changed nothing, when there are too few blocks.
   */
  admit(holder: BlockHolder, reserve = 0): boolean {
    const hits = this.lookUp(holder);
    const needed = this.blocksFor(holder.length) - hits.length;
    const revived = hits.reduce((n, block) => n + (this.references[block] === 0 ? 1 : 0), 0);
    if (needed + revived + reserve > this.available) return false;
    for (const block of hits) this.share(holder, block);
    for (let i = 0; i < needed; i++) holder.blocks.push(this.take());
    holder.computed = hits.length * this.blockSize;
    holder.published = hits.length;
    for (const hash of this.unpublished(holder)) {
      if (!this.inProgress.has(hash)) this.inProgress.set(hash, holder);
    }
    if (this.prefixCaching && holder.usesPrefixCache) {
      this.queriedTokens += holder.length;
      this.hitTokens += holder.computed;
    }
    return true;
  }

  /**
   * Whether a sequence does better to wait until another, which is computing the same prefix, has published it: when the other has at most
   * twice the tokens left to compute that waiting saves.
   */
  isWorthWaiting(holder: BlockHolder): boolean {
    const start = this.lookUp(holder).length;
    const owner = this.inProgress.get(holder.hashes[start] ?? '');
    if (owner === undefined) return false;
    const most = this.shared(holder, holder.length - 1);
    let end = start;
    while (end < most && this.inProgress.has(holder.hashes[end]!)) end++;
    return 2 * (end - start) * this.blockSize >= owner.length - owner.computed;
  }

  /**
   * Makes token `end − 1` writable: adds a block when it starts one, and copies its block first when others share it.
   *
   * @param copies receives the copy to make.
   * @returns false, having changed nothing, when there is no block left.
   */
  append(holder: BlockHolder, copies: BlockCopy[]): boolean {
    const index = Math.floor((holder.end - 1) / this.blockSize);
    const block = holder.blocks[index];
    if (block !== undefined && this.references[block] === 1) return true;
    if (this.available === 0) return false;
    const fresh = this.take();
    if (block === undefined) {
      holder.blocks.push(fresh);
    } else {
      copies.push({ from: block, to: fresh });
      holder.blocks[index] = fresh;
      this.references[block]!--;
      this.copiesOnWrite++;
    }
    return true;
  }

  /** Lets `child`, which has the same tokens and holds nothing, share everything that `parent` holds. */
  fork(parent: BlockHolder, child: BlockHolder): void {
    for (const block of parent.blocks) this.share(child, block);
    for (let i = child.hashes.length; i < parent.hashes.length; i++) child.hashes.push(parent.hashes[i]!);
    child.computed = parent.computed;
    child.published = parent.published;
  }

  /** Declares the content of the full blocks among the leading `computed` tokens sound: from now on others may share them. */
  publish(holder: BlockHolder, computed: number): void {
    const full = this.shared(holder, computed);
    if (!this.prefixCaching || !holder.usesPrefixCache || holder.published >= full) return;
    this.hash(holder);
    for (; holder.published < full; holder.published++) {
      const block = holder.blocks[holder.published]!;
      const hash = holder.hashes[holder.published]!;
      this.noLongerInProgress(hash, holder);
      if (this.hashOf[block] !== null || this.byHash.has(hash)) continue; // another sequence was first
      this.hashOf[block] = hash;
      this.byHash.set(hash, block);
    }
  }

  /** Takes all blocks back. The last ones go to the cache first, so that a prefix outlives what continues it. */
  release(holder: BlockHolder): void {
    for (const hash of this.unpublished(holder)) this.noLongerInProgress(hash, holder);
    for (let i = holder.blocks.length - 1; i >= 0; i--) this.drop(holder.blocks[i]!);
    holder.blocks.length = 0;
    holder.computed = 0;
    holder.published = 0;
  }

  /** Forgets all cached content, for example because the weights have changed. Sequences keep what they hold. */
  clearCache(): void {
    for (let block = this.cached.shift(); block !== undefined; block = this.cached.shift()) this.free.push(block);
    this.byHash.clear();
    this.hashOf.fill(null);
  }

  /**
   * Recounts everything.
   *
   * @param holders every sequence that holds blocks.
   * @throws Error when free + cached + used ≠ total, a reference count is off, or the hash table is inconsistent.
   */
  checkIntegrity(holders: readonly BlockHolder[]): void {
    const counted = new Int32Array(this.total);
    for (const holder of holders) for (const block of holder.blocks) counted[block]!++;
    const free = new Set(this.free);
    const cached = new Set(this.cached);
    let used = 0;
    for (let block = 0; block < this.total; block++) {
      const references = this.references[block]!;
      if (references !== counted[block]) {
        throw new Error(`block ${block} counts ${references} references but ${counted[block]} sequences hold it`);
      }
      if (references > 0) used++;
      const states = (references > 0 ? 1 : 0) + (free.has(block) ? 1 : 0) + (cached.has(block) ? 1 : 0);
      if (states !== 1) throw new Error(`block ${block} is in ${states} states`);
      const hash = this.hashOf[block]!;
      if (hash !== null && this.byHash.get(hash) !== block) throw new Error(`block ${block} is not found by its hash`);
      if ((hash !== null && free.has(block)) || (hash === null && cached.has(block))) {
        throw new Error(`block ${block} is ${hash === null ? 'cached without' : 'free with'} a hash`);
      }
    }
    const known = new Set(holders);
    for (const holder of this.inProgress.values()) {
      if (!known.has(holder) || holder.blocks.length === 0)
        throw new Error('a prefix in progress has nobody computing it');
    }
    const hashed = this.hashOf.reduce((n, hash) => n + (hash === null ? 0 : 1), 0);
    if (hashed !== this.byHash.size) throw new Error(`${this.byHash.size} hashes lead to ${hashed} blocks`);
    if (this.free.length + this.cached.size + used !== this.total) {
      throw new Error(`${this.free.length} free + ${this.cached.size} cached + ${used} used blocks ≠ ${this.total}`);
    }
  }

  private lookUp(holder: BlockHolder): number[] {
    const hits: number[] = [];
    if (!this.prefixCaching || !holder.usesPrefixCache) return hits;
    this.hash(holder);
    const most = this.shared(holder, holder.length - 1);
    while (hits.length < most) {
      const block = this.byHash.get(holder.hashes[hits.length]!);
      if (block === undefined) break;
      hits.push(block);
    }
    return hits;
  }

  /** Hashes of the full blocks that `holder` computes and may publish. */
  private unpublished(holder: BlockHolder): string[] {
    if (!this.prefixCaching || !holder.usesPrefixCache) return [];
    return holder.hashes.slice(holder.published, this.shared(holder, holder.length));
  }

  /** Full blocks among the leading `tokens` that may be shared. */
  private shared(holder: BlockHolder, tokens: number): number {
    return Math.floor(Math.min(tokens, holder.shareable) / this.blockSize);
  }

  private noLongerInProgress(hash: string, holder: BlockHolder): void {
    if (this.inProgress.get(hash) === holder) this.inProgress.delete(hash);
  }

  private hash(holder: BlockHolder): void {
    extendBlockHashes(holder.hashes, holder.tokens, holder.length, this.blockSize, holder.salt);
  }

  private take(): number {
    let block = this.free.pop();
    if (block === undefined) {
      block = this.cached.shift();
      if (block === undefined) throw new Error('no block is available');
      this.byHash.delete(this.hashOf[block]!);
      this.hashOf[block] = null;
      this.evictions++;
    }
    this.references[block] = 1;
    return block;
  }

  private share(holder: BlockHolder, block: number): void {
    if (this.references[block] === 0) this.cached.delete(block);
    this.references[block]!++;
    holder.blocks.push(block);
  }

  private drop(block: number): void {
    const left = --this.references[block]!;
    if (left > 0) return;
    if (this.hashOf[block] === null) this.free.push(block);
    else this.cached.push(block);
  }
}

/** Block numbers in order of arrival, any of which can leave in constant time: a doubly linked ring in one array, its head at `blocks`. */
export class BlockList {
  private readonly next: Int32Array;
  private readonly previous: Int32Array;
  private readonly head: number;
  private count = 0;

  constructor(blocks: number) {
    this.head = blocks;
    this.next = new Int32Array(blocks + 1).fill(-1);
    this.previous = new Int32Array(blocks + 1).fill(-1);
    this.next[blocks] = this.previous[blocks] = blocks;
  }

  get size(): number {
    return this.count;
  }

  has(block: number): boolean {
    return this.next[block] !== -1;
  }

  /** Appends as the youngest. */
  push(block: number): void {
    const last = this.previous[this.head]!;
    this.next[last] = block;
    this.previous[block] = last;
    this.next[block] = this.head;
    this.previous[this.head] = block;
    this.count++;
  }

  delete(block: number): void {
    const [before, after] = [this.previous[block]!, this.next[block]!];
    this.next[before] = after;
    this.previous[after] = before;
    this.next[block] = this.previous[block] = -1;
    this.count--;
  }

  /** Takes the oldest. */
  shift(): number | undefined {
    if (this.count === 0) return undefined;
    const block = this.next[this.head]!;
    this.delete(block);
    return block;
  }

  *[Symbol.iterator](): Generator<number> {
    for (let block = this.next[this.head]!; block !== this.head; block = this.next[block]!) yield block;
  }
}

/** Ids of millions of rows, without the ids: a hash of 64 bits each, in tables outside of the garbage collector's heap. */
import { hash } from 'node:crypto';

/**
 * Numbers distinct ids in the order in which they are added, in some 20 bytes each. Two ids are taken for one with a probability of
 * 3·10⁻⁸ among a million.
 */
export class IdIndex {
  #size = 0;
  /** By number. */
  #low = new Int32Array(64);
  #high = new Int32Array(64);
  /** Number + 1 of an id, at its hash or at the next place that was empty; 0 where there is none. */
  #slots = new Int32Array(128);

  get size(): number {
    return this.#size;
  }

  /** The number of an id; −1 when it was never added. */
  find(id: string): number {
    return this.#slots[this.#slotOf(...hashOf(id))]! - 1;
  }

  /** Numbers a new id. @throws RangeError when it is not new. */
  add(id: string): number {
    const [low, high] = hashOf(id);
    const slot = this.#slotOf(low, high);
    if (this.#slots[slot] !== 0) throw new RangeError(`Expected a new id but received '${id}' again`);
    const number = this.#size++;
    this.#slots[slot] = this.#size;
    this.#low[number] = low;
    this.#high[number] = high;
    if (this.#size === this.#low.length) this.#grow();
    return number;
  }

  #slotOf(low: number, high: number): number {
    const last = this.#slots.length - 1;
    for (let slot = low & last; ; slot = (slot + 1) & last) {
      const number = this.#slots[slot]! - 1;
      if (number < 0 || (this.#low[number] === low && this.#high[number] === high)) return slot;
    }
  }

  #grow(): void {
    this.#low = doubled(this.#low);
    this.#high = doubled(this.#high);
    this.#slots = new Int32Array(2 * this.#slots.length);
    for (let number = 0; number < this.#size; number++)
      this.#slots[this.#slotOf(this.#low[number]!, this.#high[number]!)] = number + 1;
  }
}

function hashOf(id: string): [low: number, high: number] {
  const digest = hash('sha256', id, 'buffer');
  return [digest.readInt32LE(0), digest.readInt32LE(4)];
}

function doubled(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
}

/** Lets the event loop turn in the middle of long work, so that timers and signals come through. */
export class Pauses {
  readonly #milliseconds: number;
  #last = performance.now();

  /** @param milliseconds at most this long between turns, give or take the work between two calls of `due` */
  constructor(milliseconds = 10) {
    this.#milliseconds = milliseconds;
  }

  /** Whether it is time to `await` a {@link turn}. */
  due(): boolean {
    return performance.now() - this.#last >= this.#milliseconds;
  }

  async turn(): Promise<void> {
    await new Promise(setImmediate);
    this.#last = performance.now();
  }
}

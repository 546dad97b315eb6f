/** Turns tokens into text as they come. What cannot be shown yet (half a character) is held back. */
export interface TokenStream {
  /** The text that `token` adds; may be empty. */
  push(token: number): string;
  /** The text still held back. */
  flush(): string;
}

/** A model's way from tokens to text. The pieces of a stream, joined, are the text of all its tokens at once. */
export interface Decoding {
  createStream(): TokenStream;
  /** Many times as quick as a stream. */
  decode(tokens: readonly number[]): string;
}

/** The text of one sample, watched for stop strings. */
export class OutputText {
  private readonly stream: TokenStream;
  private readonly stop: readonly string[];
  private readonly longest: number;
  private written = '';
  private flushed = false;

  constructor(stream: TokenStream, stop: readonly string[]) {
    this.stream = stream;
    this.stop = stop;
    this.longest = stop.reduce((most, text) => Math.max(most, text.length), 0);
  }

  /** Without the stop string that ended it. */
  get text(): string {
    return this.written;
  }

  /**
   * Adds a token, and cuts the text before the first stop string that it completes, wherever in earlier tokens that began.
   *
   * @param mayStop false: stop strings that end in this token do not count.
   * @returns whether a stop string was found.
   */
  push(token: number, mayStop = true): boolean {
    const searchFrom = Math.max(0, this.written.length - this.longest + 1);
    this.written += this.stream.push(token);
    if (!mayStop) return false;
    let first = -1;
    for (const stop of this.stop) {
      const at = this.written.indexOf(stop, searchFrom);
      if (at >= 0 && (first < 0 || at < first)) first = at;
    }
    if (first < 0) return false;
    this.written = this.written.slice(0, first);
    this.flushed = true;
    return true;
  }

  /** Adds what is held back, once; after a stop string nothing. */
  flush(): void {
    if (this.flushed) return;
    this.flushed = true;
    this.written += this.stream.flush();
  }
}

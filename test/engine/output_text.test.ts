import { describe, expect, it } from 'vitest';
import { OutputText, type TokenStream } from '../../src/engine/output_text.js';

/** Pushes pieces by number; what `held` names comes with the flush. */
function stream(pieces: string[], held = ''): TokenStream {
  return { push: (token) => pieces[token]!, flush: () => held };
}

function read(pieces: string[], stop: string[], held = ''): { text: string; stoppedAt: number } {
  const output = new OutputText(stream(pieces, held), stop);
  const stoppedAt = pieces.findIndex((_, token) => output.push(token));
  output.flush();
  return { text: output.text, stoppedAt };
}

describe('OutputText', () => {
  it('joins pieces and what was held back', () => {
    expect(read(['a', '', 'b'], [], '!')).toEqual({ text: 'ab!', stoppedAt: -1 });
  });

  it.each([
    [['one STOP two'], 0],
    [['one S', 'TOP two'], 1],
    [['one ', 'S', 'T', 'O', 'P'], 4],
    [['one ', '', 'STO', '', 'P', 'x'], 4],
  ])('finds a stop string in %j', (pieces, at) => {
    expect(read(pieces, ['never', 'STOP'], 'held')).toEqual({ text: 'one ', stoppedAt: at });
  });

  it('cuts at the first of several', () => {
    expect(read(['ab', 'cdef'], ['ef', 'bc', 'de'])).toEqual({ text: 'a', stoppedAt: 1 });
  });

  it('does not take a part for the whole', () => {
    expect(read(['STO', 'STO', 'ST'], ['STOP'])).toEqual({ text: 'STOSTOST', stoppedAt: -1 });
  });

  it('ignores what ended while it might not stop', () => {
    const output = new OutputText(stream(['a.', 'b', '.']), ['.']);
    expect([output.push(0, false), output.push(1), output.push(2)]).toEqual([false, false, true]);
    expect(output.text).toBe('a.b');
  });
});

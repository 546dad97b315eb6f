// A peer for tests: says what it is told, fails, prints what nobody asked for, or dies.
import { serve } from '../../benchmarks/peers/protocol.mjs';

await serve({
  name: () => 'fake 1.0',
  echo: ({ value }) => value,
  nothing: () => {},
  fail: () => {
    throw new Error('no such\n  thing');
  },
  chatter: () => {
    console.log('loading…');
    return 7;
  },
  die: () => {
    console.error('out of luck');
    process.exit(3);
  },
});

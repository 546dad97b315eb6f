import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { Peer, PeerUnavailable, peersFolder } from '../../src/bench/peer.js';

const program = relative(peersFolder, fileURLToPath(new URL('./fake_peer.mjs', import.meta.url)));

test('a peer answers one request after the other', async () => {
  const peer = await Peer.start([process.execPath, program]);
  expect(peer.name).toBe('fake 1.0');
  expect(await peer.ask({ task: 'echo', value: { deep: [1, 'é\n'] } })).toEqual({ deep: [1, 'é\n'] });
  expect(await peer.ask({ task: 'chatter' })).toBe(7);
  expect(await peer.ask({ task: 'nothing' })).toBeNull();
  await expect(peer.ask({ task: 'fail' })).rejects.toThrow(new PeerUnavailable('Error: no such thing'));
  expect(await peer.ask({ task: 'echo', value: 2 })).toBe(2);
  const first = peer.ask({ task: 'echo', value: 3 });
  expect(() => peer.ask({ task: 'echo', value: 4 })).toThrow('one thing at a time');
  expect(await first).toBe(3);
  await peer.stop();
  await peer.stop();
});

test('a peer that dies says its last words, and goes on saying them', async () => {
  const peer = await Peer.start([process.execPath, program]);
  await expect(peer.ask({ task: 'die' })).rejects.toThrow(/exit code 3: out of luck/);
  await expect(peer.ask({ task: 'echo' })).rejects.toThrow('out of luck');
});

test('what cannot be started is unavailable', async () => {
  await expect(Peer.start(['no-such-interpreter', program])).rejects.toThrow(PeerUnavailable);
  await expect(Peer.start([process.execPath, 'no_such_program.mjs'])).rejects.toThrow(PeerUnavailable);
});

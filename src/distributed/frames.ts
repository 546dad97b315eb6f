/** Messages over a socket: a 32-bit length, then what v8 serialises. */
import type { Socket } from 'node:net';
import { deserialize, serialize } from 'node:v8';

/** No message of ours comes near; whoever sends a longer one is a stranger. */
const mostBytes = 1 << 30;

export function sendFrame(socket: Socket, message: unknown): void {
  if (!socket.writable) return; // its 'close' says what there is to say
  const body = serialize(message);
  const header = Buffer.alloc(4);
  header.writeUInt32LE(body.length);
  socket.cork();
  socket.write(header);
  socket.write(body);
  socket.uncork();
}

/** Calls `hear` for every message; a socket that sends something else is closed. */
export function onFrames(socket: Socket, hear: (message: unknown) => void): void {
  let parts: Buffer[] = [];
  let bytes = 0;
  const take = (count: number): Buffer => {
    const all = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    parts = [all.subarray(count)];
    bytes -= count;
    return all.subarray(0, count);
  };
  let expected: number | null = null;
  socket.on('data', (data) => {
    parts.push(data as Buffer);
    bytes += data.length;
    try {
      for (;;) {
        if (expected === null) {
          if (bytes < 4) return;
          expected = take(4).readUInt32LE();
          if (expected > mostBytes) throw new RangeError('too long');
        }
        if (bytes < expected) return;
        const body = take(expected);
        expected = null;
        hear(deserialize(body));
      }
    } catch {
      socket.destroy();
    }
  });
}

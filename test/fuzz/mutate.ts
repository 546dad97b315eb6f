/** Seeded damage: of bytes, and of what text means. */
import { randomWord } from '../../src/training/philox.js';

/** Whole numbers in [0, limit). */
export type Random = (limit: number) => number;

export function randomOf(seed: number, round: number): Random {
  let draw = 0;
  return (limit) => (limit <= 0 ? 0 : randomWord(seed, 13, round, draw++) % limit);
}

const extremeBytes = [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x5b, 0x7b, 0x7d, 0x0a];
const extremeSizes = [0n, 1n, 0xffn, 1n << 31n, 1n << 32n, 1n << 40n, 1n << 62n, 1n << 63n, (1n << 64n) - 1n];

/** A few bytes changed; a piece removed, doubled or cut off; eight bytes made a size that nobody has. */
export function mutateBytes(original: Buffer, random: Random): Buffer {
  const bytes = Buffer.from(original);
  const kind = random(7);
  if (kind === 0) return bytes.subarray(0, random(bytes.length));
  const start = random(bytes.length);
  if (kind === 1) return Buffer.concat([bytes.subarray(0, start), bytes.subarray(start + random(40))]);
  if (kind === 2) return Buffer.concat([bytes.subarray(0, start + random(40)), bytes.subarray(start)]);
  if (kind === 3 && bytes.length > 8) {
    const at = random(2) === 0 ? random(5) * 8 : random(bytes.length - 8);
    bytes.writeBigUInt64LE(extremeSizes[random(extremeSizes.length)]!, Math.min(at, bytes.length - 8));
    return bytes;
  }
  for (let count = 1 + random(4); count > 0; count--)
    bytes[random(bytes.length)] = kind === 4 ? random(256) : extremeBytes[random(extremeBytes.length)]!;
  return bytes;
}

const strange: unknown[] = [
  ...[null, true, false, 0, -1, 1e9, 2 ** 31, 2 ** 53, 1e308, -1e308, 0.5],
  ...['', '\u0000', '../../../etc/passwd', '/etc/passwd', '(a+)+$', 'x'.repeat(70_000), '\ud800', '__proto__'],
  ...[[], {}, [[]], [null], { length: 1e9 }, Array.from({ length: 1000 }, () => 0)],
];

function deep(): unknown {
  let value: unknown = 0;
  for (let level = 0; level < 1000; level++) value = [value];
  return value;
}

/** One value somewhere inside replaced, left out, doubled or renamed. */
export function mutateJson(original: unknown, random: Random): unknown {
  const copy = structuredClone(original);
  const places: [container: Record<string, unknown> | unknown[], key: string][] = [];
  const walk = (node: unknown, depth: number) => {
    if (typeof node !== 'object' || node === null || depth > 6) return;
    const keys = Object.keys(node);
    // Of a vocabulary a few entries, or nothing else would ever be changed.
    const chosen = keys.length > 40 ? Array.from({ length: 8 }, () => keys[random(keys.length)]!) : keys;
    for (const key of chosen) {
      places.push([node as Record<string, unknown>, key]);
      walk((node as Record<string, unknown>)[key], depth + 1);
    }
  };
  walk(copy, 0);
  if (places.length === 0) return strange[random(strange.length)];
  for (let count = 1 + random(3); count > 0; count--) {
    const [container, key] = places[random(places.length)]!;
    const target = container as Record<string, unknown>;
    const kind = random(6);
    if (kind === 0 && !Array.isArray(container)) delete target[key];
    else if (kind === 1) target[`${key}x`] = target[key];
    else if (kind === 2) target[key] = [target[key], target[key]];
    else if (kind === 3 && random(20) === 0) target[key] = deep();
    else target[key] = strange[random(strange.length)];
  }
  return copy;
}

/** Something nested very deeply, put in somewhere. */
export function nestText(original: string, random: Random): Buffer {
  const at = random(original.length);
  const depth = 1 << (8 + random(10));
  return Buffer.from(
    `${original.slice(0, at)}${'['.repeat(depth)}${random(2) === 0 ? ']'.repeat(depth) : ''}${original.slice(at)}`,
  );
}

/** JSON with a changed value, or as text with changed bytes. */
export function mutateJsonText(original: string, random: Random): Buffer {
  if (random(3) === 0) return mutateBytes(Buffer.from(original), random);
  if (random(20) === 0) return nestText(original, random);
  try {
    return Buffer.from(JSON.stringify(mutateJson(JSON.parse(original), random)) ?? 'null');
  } catch {
    return mutateBytes(Buffer.from(original), random);
  }
}

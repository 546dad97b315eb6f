/**
 * The identity of a row: a fingerprint of everything its content depends on (data, prompt, parameters, model). Two
 * rows with the same identity are the same row, so a finished one is never done again and a changed prompt re-does
 * what depends on it and only that.
 */
import { createHash } from 'node:crypto';

/** JSON with sorted keys; keys whose value is undefined are left out. */
function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, item]) => item !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    return `{${entries.map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`).join(',')}}`;
  }
  return JSON.stringify(value ?? null);
}

/** 16 hexadecimal digits (64 bits) of the SHA-256 of the parts. */
export function fingerprint(parts: unknown): string {
  return createHash('sha256').update(canonicalJson(parts)).digest('hex').slice(0, 16);
}

/** The sampling seed of a row, in [0, 2^31). */
export function seedOf(identity: string): number {
  return createHash('sha256').update(`seed ${identity}`).digest().readUInt32BE(0) >>> 1;
}

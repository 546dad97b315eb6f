/**
 * What turns a completion into a verdict, as a fingerprint of its code. A row remembers the one it was judged by, so that
 * better extraction judges the stored texts again; what was generated stays.
 */
import { fileURLToPath } from 'node:url';
import { closureFingerprint } from '../import_closure.js';

let known: string | null = null;

/** 16 hexadecimal digits over verdicts.ts and all that it is made of. */
export function verificationVersion(): string {
  const self = fileURLToPath(import.meta.url);
  known ??= closureFingerprint([self.replace(/verification(\.[jt]s)$/, 'verdicts$1')]).slice(0, 16);
  return known;
}

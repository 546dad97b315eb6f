import { hash } from 'node:crypto';

/**
 * Extends a chain of block hashes until every full block of `tokens[0, length)` has one. The hash of a block covers its tokens and
 * all before it (it is SHA-256 over the hash of the block before and the block's tokens), so equal hashes mean equal prefixes.
 *
 * @param salt what else the keys and values depend on: weight version, adapter. It starts the chain.
 */
export function extendBlockHashes(
  hashes: string[],
  tokens: Int32Array,
  length: number,
  blockSize: number,
  salt: string,
): void {
  for (let block = hashes.length; (block + 1) * blockSize <= length; block++) {
    const parent = block === 0 ? salt : hashes[block - 1]!;
    const start = tokens.byteOffset + block * blockSize * Int32Array.BYTES_PER_ELEMENT;
    const bytes = Buffer.from(tokens.buffer, start, blockSize * Int32Array.BYTES_PER_ELEMENT);
    hashes.push(hash('sha256', Buffer.concat([Buffer.from(parent), bytes]), 'base64'));
  }
}

/**
 * The alphabet of byte-level vocabularies (GPT-2): each byte is one printable character. Printable Latin-1 bytes stand for
 * themselves, the other 68 for the characters from U+0100 on, in order.
 */
const symbolOfByte: string[] = [];
const byteOfSymbol = new Map<string, number>();
{
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    symbolOfByte[byte] = String.fromCharCode(printable ? byte : next++);
    byteOfSymbol.set(symbolOfByte[byte]!, byte);
  }
}

/** The bytes that a vocabulary entry stands for; an entry outside the alphabet stands for its own UTF-8. */
export function bytesOfSymbols(token: string): Uint8Array {
  const bytes: number[] = [];
  for (const symbol of token) {
    const byte = byteOfSymbol.get(symbol);
    if (byte === undefined) return new TextEncoder().encode(token);
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/** The vocabulary entry for bytes: the inverse of bytesOfSymbols. */
export function symbolsOfBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => symbolOfByte[byte]).join('');
}

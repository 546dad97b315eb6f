// Disks that are full or read-only, and two processes that want one folder.
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { writeFileAtomically, writePiecesAtomically, writing } from '../../src/pipeline/files.js';
import { RowFile } from '../../src/pipeline/row_file.js';
import { lockFolder } from '../../src/pipeline/run_lock.js';
import { watchForSleep } from '../../src/pipeline/sleep.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'files-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('a full disk', () => {
  // /dev/full refuses every write with ENOSPC, as a full disk does.
  it('is said in one line', () => {
    const full = openSync('/dev/full', 'w');
    expect(() => writing('/dev/full', () => writeSync(full, 'x'))).toThrow(
      /^Expected to be able to write \/dev\/full but the disk is full; free some space, and start the same command again/,
    );
    closeSync(full);
  });

  it('leaves no half-written file beside the old one', () => {
    const path = join(folder, 'x.json');
    writeFileAtomically(path, 'old');
    const pieces = function* () {
      yield 'new';
      throw Object.assign(new Error('write'), { code: 'ENOSPC' });
    };
    expect(() => writePiecesAtomically(path, pieces())).toThrow(/the disk is full/);
    expect(readFileSync(path, 'utf8')).toBe('old');
    expect(readdirSync(folder)).toEqual(['x.json']);
  });
});

it('a folder that may not be written to is said in one line', () => {
  const closed = join(folder, 'closed');
  mkdirSync(closed);
  writeFileSync(join(folder, 'file'), '');
  expect(() => writeFileAtomically(join(folder, 'file', 'x.json'), 'x')).toThrow(
    /Expected to be able to write .* but a part of the path is a file; choose another folder/,
  );
  if (process.getuid?.() === 0) return; // Root may write anywhere.
  chmodSync(closed, 0o500);
  expect(() => writeFileAtomically(join(closed, 'x.json'), 'x')).toThrow(/this user may not write there/);
});

describe('row files', () => {
  const row = (key: string, more: object = {}) => ({ key, id: `id-${key}`, ok: true, ...more });

  it('keep places in memory and rows on disk', () => {
    const file = new RowFile<ReturnType<typeof row> & { text?: string }>(join(folder, 'rows.jsonl'));
    for (const key of ['a', 'b', 'c']) file.append(row(key, { text: `${key} äöü \u2028 `.repeat(3) }));
    file.append(row('b', { text: 'ignored: it is there' }));
    expect(file.read('b').text).toBe('b äöü \u2028 '.repeat(3));
    file.finalise(['c', 'a']);
    expect(file.has('b')).toBe(false);
    const again = new RowFile<ReturnType<typeof row> & { text?: string }>(file.path);
    expect([...again.keys()]).toEqual(['c', 'a']);
    expect(again.read('c').text).toBe('c äöü \u2028 '.repeat(3));
    file.close();
    again.close();
  });

  it('cut off a torn last row, unless they only look', () => {
    const path = join(folder, 'rows.jsonl');
    writeFileSync(path, `${JSON.stringify(row('a'))}\n{"key":"b","id":"ä`);
    new RowFile(path, { readOnly: true }).close();
    expect(readFileSync(path, 'utf8')).toContain('"b"');
    const file = new RowFile(path);
    expect([...file.keys()]).toEqual(['a']);
    expect(readFileSync(path, 'utf8')).toBe(`${JSON.stringify(row('a'))}\n`);
    file.close();
  });

  it('drop a row that stands there twice', () => {
    const path = join(folder, 'rows.jsonl');
    const line = `${JSON.stringify(row('a'))}\n`;
    writeFileSync(path, line + line);
    const file = new RowFile(path);
    file.finalise(['a']);
    expect(readFileSync(path, 'utf8')).toBe(line);
    file.close();
  });

  it('read lines longer than a chunk', () => {
    const path = join(folder, 'rows.jsonl');
    const long = 'x'.repeat(3_000_001);
    writeFileSync(
      path,
      [row('a', { long }), row('b'), row('c', { long })].map((r) => `${JSON.stringify(r)}\n`).join(''),
    );
    const file = new RowFile<ReturnType<typeof row> & { long?: string }>(path);
    expect(file.read('c').long).toBe(long);
    expect(file.read('b')).toEqual(row('b'));
    file.close();
  });
});

describe('the lock', () => {
  const script = `
    const { lockFolder } = await import(${JSON.stringify(join(process.cwd(), 'dist/src/pipeline/run_lock.js'))});
    try { lockFolder(process.argv[1]); console.log('held'); process.stdin.resume(); }
    catch (error) { console.log(error.message); process.exit(3); }`;

  it('is given to one of many that start at once, though a dead one held it', async () => {
    const dead = spawnSync(process.execPath, [
      '--input-type=module',
      '-e',
      script.replace("console.log('held'); process.stdin.resume();", "process.kill(process.pid, 'SIGKILL');"),
      folder,
    ]);
    expect(dead.signal).toBe('SIGKILL');
    expect(existsSync(join(folder, 'lock'))).toBe(true);
    const children = Array.from({ length: 6 }, () =>
      spawn(process.execPath, ['--input-type=module', '-e', script, folder], { stdio: ['pipe', 'pipe', 'inherit'] }),
    );
    const said = await Promise.all(
      children.map(
        (child) => new Promise<string>((done) => child.stdout.once('data', (text: Buffer) => done(text.toString()))),
      ),
    );
    expect(said.filter((text) => text === 'held\n')).toHaveLength(1);
    expect(said.filter((text) => /to be free but process \d+ is using it/.test(text))).toHaveLength(5);
    for (const child of children) child.kill('SIGKILL');
  });

  it('is given back', () => {
    lockFolder(folder)();
    const unlock = lockFolder(folder);
    expect(() => lockFolder(folder)).toThrow(/is using it/);
    unlock();
    expect(readdirSync(folder)).toEqual([]);
  });
});

it('a machine that slept is said in one line', () => {
  const lines: string[] = [];
  const now = { monotonic: 0, wall: 0 };
  const clocks = { monotonic: () => now.monotonic, wall: () => now.wall };
  const watch = watchForSleep((line) => lines.push(line), clocks);
  const pass = (awake: number, asleep: number) => {
    now.monotonic += awake;
    now.wall += awake + asleep;
    watch.check();
  };
  pass(5000, 0);
  pass(5000, 900); // A clock that was set.
  expect(lines).toEqual([]);
  pass(5000, 7_200_000);
  pass(5000, 0);
  expect(lines).toEqual(['The machine slept for 2h 00m; the work goes on, and rates leave the sleep out.']);
  watch.stop();
});

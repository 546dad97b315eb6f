import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { removeLeftovers, writeFolder } from '../../src/training/atomic_folder.js';

describe('writeFolder', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'atomic-folder-'));
  });
  afterEach(() => rm(root, { recursive: true }));

  it('creates a folder with its parents', async () => {
    const folder = join(root, 'a', 'b');
    await writeFolder(folder, async (temporary) => {
      expect(await readdir(join(root, 'a'))).not.toContain('b');
      await mkdir(join(temporary, 'inner'));
      await writeFile(join(temporary, 'inner', 'x'), '1');
    });
    expect(await readFile(join(folder, 'inner', 'x'), 'utf8')).toBe('1');
    expect(await readdir(join(root, 'a'))).toEqual(['b']);
  });

  it('replaces a folder whole', async () => {
    const folder = join(root, 'a');
    await writeFolder(folder, (temporary) => writeFile(join(temporary, 'old'), '1'));
    await writeFolder(folder, (temporary) => writeFile(join(temporary, 'new'), '2'));
    expect(await readdir(folder)).toEqual(['new']);
    expect(await readdir(root)).toEqual(['a']);
  });

  it('leaves the old folder and nothing else when writing fails', async () => {
    const folder = join(root, 'a');
    await writeFolder(folder, (temporary) => writeFile(join(temporary, 'old'), '1'));
    await expect(
      writeFolder(folder, async (temporary) => {
        await writeFile(join(temporary, 'half'), '');
        throw new Error('disk full');
      }),
    ).rejects.toThrow('disk full');
    expect(await readdir(folder)).toEqual(['old']);
    expect(await readdir(root)).toEqual(['a']);
  });

  it('clears away what a killed writer left', async () => {
    await mkdir(join(root, '.a.tmp-x1y2z3'));
    await mkdir(join(root, '.a.old-12'));
    await mkdir(join(root, '.keep'));
    await removeLeftovers(root);
    expect(await readdir(root)).toEqual(['.keep']);
    await removeLeftovers(join(root, 'absent'));
  });
});

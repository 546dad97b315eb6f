// A folder that is there whole or not at all: written under a temporary name beside it, synced, renamed.

import { mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';

/**
 * Calls `write` with a fresh temporary folder, {@link temporaryFolder}, and gives that folder the name `folder` once everything in it
 * has reached the disk. An existing folder of that name is replaced. When `write` fails nothing is left behind, and the old folder stays.
 */
export async function writeFolder(folder: string, write: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = temporaryFolder(folder);
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary, { recursive: true });
  try {
    await write(temporary);
    await syncTree(temporary);
    await replaceFolder(temporary, resolve(folder));
    await syncPath(dirname(temporary));
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
}

/** Where {@link writeFolder} has a folder written: beside it, for whoever writes a part of it. */
export function temporaryFolder(folder: string): string {
  const target = resolve(folder);
  return join(dirname(target), `.${basename(target)}.tmp-`);
}

/** Removes what writers that were killed left beside `folder`'s children. */
export async function removeLeftovers(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => [] as string[]);
  for (const name of names) {
    if (/^\..+\.(tmp|old)-/.test(name)) await rm(join(folder, name), { recursive: true, force: true });
  }
}

async function replaceFolder(temporary: string, target: string): Promise<void> {
  // rename() does not replace a folder that holds files, so an old one steps aside first.
  const aside = `${dirname(target)}/.${basename(target)}.old-${process.pid}`;
  const replaced = await rename(target, aside).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
  try {
    await rename(temporary, target);
  } catch (error) {
    if (replaced) await rename(aside, target);
    throw error;
  }
  if (replaced) await rm(aside, { recursive: true, force: true });
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else await syncPath(path);
  }
  await syncPath(folder);
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * Calls `write` with a temporary folder and moves the files in it into the existing or new `folder`, over those of the same
 * name, once all have reached the disk; `last` goes last, so that where it stands the others do.
 */
export async function writeFiles(
  folder: string,
  last: string,
  write: (temporary: string) => Promise<void>,
): Promise<void> {
  const target = resolve(folder);
  await mkdir(target, { recursive: true });
  const temporary = await mkdtemp(join(target, '.files.tmp-'));
  try {
    await write(temporary);
    await syncTree(temporary);
    await rm(join(target, last), { force: true });
    const names = (await readdir(temporary)).filter((name) => name !== last);
    for (const name of [...names, last]) await rename(join(temporary, name), join(target, name));
    await syncPath(target);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/** Files of a model's or adapter's folder stay in it: a link that leads elsewhere is not followed. */
import { realpath } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { UserError } from '../errors.js';

/**
 * The folders that files of `folder` may really lie in: itself, and for a snapshot in the hub's cache
 * (`models--NAME/snapshots/REVISION`), whose files are links, the blobs of the same model.
 */
async function allowed(folder: string): Promise<string[]> {
  const real = await realpath(folder);
  const snapshots = dirname(real);
  const isSnapshot = /[\\/]models--[^\\/]+[\\/]snapshots$/.test(snapshots);
  return isSnapshot ? [real, join(dirname(snapshots), 'blobs')] : [real];
}

/** @throws UserError for the first of `names` (files that are there) that leads out of `folder` */
export async function expectInside(folder: string, names: Iterable<string>): Promise<void> {
  const roots = await allowed(folder);
  for (const name of names) {
    const path = await realpath(join(folder, name)).catch(() => null);
    if (path === null || roots.some((root) => path === root || path.startsWith(root + sep))) continue;
    throw new UserError(
      `Expected ${join(folder, name)} to lie in its folder but it is a link to ${path}; do not use this model, or copy the file there yourself`,
    );
  }
}

/** A module together with what it imports from beside it: whatever depends on what a module does depends on all of these. */
import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { dirname, extname, relative, resolve } from 'node:path';

/** Relative specifiers: imports, re-exports, imports of a literal at run time. Types alone do nothing and are left out. */
const specifiers =
  /\b(?:import|export)\s+(?!type\s)(?:[\w$\s{},*]+?\sfrom\s*)?(['"])(\.{1,2}\/[^'"\n]+)\1|\b(?:import|require)\s*\(\s*(['"])(\.{1,2}\/[^'"\n]+)\3/g;

/** Where a compiled module's name stands for its source. */
const sources: Readonly<Record<string, string>> = { '.js': '.ts', '.mjs': '.mts' };

function fileOf(specifier: string, importer: string): string | null {
  const path = resolve(dirname(importer), specifier);
  const source = sources[extname(path)];
  const candidates = source === undefined ? [path] : [path, path.slice(0, -extname(path).length) + source];
  return candidates.find((candidate) => statSync(candidate, { throwIfNoEntry: false })?.isFile()) ?? null;
}

/**
 * SHA-256 over the contents of `modules` and of all that they import by relative paths, and over where these lie to one
 * another. Packages are not followed, nor what only looks like an import and leads nowhere.
 * @throws Error of the file system when one of `modules` cannot be read
 */
export function closureFingerprint(modules: readonly string[]): string {
  const contents = new Map<string, Buffer>();
  const open = modules.map((module) => resolve(module));
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (contents.has(path)) continue;
    const bytes = readFileSync(path);
    contents.set(path, bytes);
    if (!/^\.[cm]?[jt]s$/.test(extname(path))) continue;
    for (const [, , fromClause, , called] of bytes.toString('utf8').matchAll(specifiers)) {
      const imported = fileOf((fromClause ?? called)!, path);
      if (imported !== null) open.push(imported);
    }
  }
  const root = dirname(resolve(modules[0]!));
  const hash = createHash('sha256');
  for (const [path, bytes] of [...contents].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const content = createHash('sha256').update(bytes).digest('hex');
    hash.update(`${relative(root, path)}\n${content}\n`);
  }
  return hash.digest('hex');
}

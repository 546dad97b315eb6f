// An objective by its name, or from a researcher's file.

import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { didYouMean, UserError } from '../../errors.js';
import { closureFingerprint } from '../../import_closure.js';
import { parseStrict } from '../strict_schema.js';
import { checkTeacher, forwardKl, reverseKl } from './distillation.js';
import type { BytesPerToken, CheckRow, LoadedObjective, Objective } from './objective.js';
import {
  checkWeights,
  crossEntropyObjective,
  lengthOptions,
  lengthWeightedObjective,
  weightedObjective,
} from './weighted.js';

interface BuiltIn {
  readonly objective: Objective;
  readonly checkRow?: CheckRow;
  readonly options?: z.ZodType<Record<string, unknown>>;
}

const builtIns: Readonly<Record<string, BuiltIn>> = {
  'cross-entropy': { objective: crossEntropyObjective },
  weighted: { objective: weightedObjective, checkRow: checkWeights },
  'length-weighted': { objective: lengthWeightedObjective, options: lengthOptions },
  'forward-kl': { objective: forwardKl, checkRow: checkTeacher },
  'reverse-kl': { objective: reverseKl, checkRow: checkTeacher },
};

/**
 * @param name a built-in, or a .ts, .js or .mjs file whose default export is an {@link Objective}; it may also export
 *   `checkRow`, a {@link CheckRow}, and `bytesPerToken`, {@link BytesPerToken}
 * @param options `objectiveOptions`; those of a file are its own affair
 * @throws {UserError} one line, for a name or option that is not known and a file that cannot be used
 */
export async function loadObjective(name: string, options: Record<string, unknown> = {}): Promise<LoadedObjective> {
  const builtIn = Object.hasOwn(builtIns, name) ? builtIns[name]! : null;
  if (builtIn) {
    const { objective, checkRow = null, options: schema = z.strictObject({}) } = builtIn;
    const parsed = parseStrict(schema, options, 'objectiveOptions');
    return { name, objective, checkRow, options: parsed, bytesPerToken: null, fingerprint: name };
  }
  if (!['.ts', '.js', '.mjs'].includes(extname(name)))
    throw new UserError(
      `Expected 'objective' to be ${Object.keys(builtIns).join(', ')}, or a .ts, .js or .mjs file, but received '${name}'${didYouMean(name, Object.keys(builtIns))}`,
    );
  let fingerprint: string;
  try {
    fingerprint = closureFingerprint([name]);
  } catch {
    throw new UserError(
      `${name}: Expected 'objective' to be a readable file; its path is relative to the working directory`,
    );
  }
  const module = await importFile(name);
  if (typeof module.default !== 'function')
    throw new UserError(
      `${name}: Expected 'export default' of a function of (batch, ops) but received ${typeof module.default}`,
    );
  for (const [key, of] of [
    ['checkRow', 'a row'],
    ['bytesPerToken', "the model's sizes"],
  ] as const)
    if (module[key] !== undefined && typeof module[key] !== 'function')
      throw new UserError(`${name}: Expected '${key}' to be a function of ${of} but received ${typeof module[key]}`);
  const checkRow = (module.checkRow as CheckRow | undefined) ?? null;
  const bytesPerToken = (module.bytesPerToken as BytesPerToken | undefined) ?? null;
  return { name, objective: module.default as Objective, checkRow, options, bytesPerToken, fingerprint };
}

async function importFile(name: string): Promise<{ default?: unknown; checkRow?: unknown; bytesPerToken?: unknown }> {
  const load = async (file: string) => {
    try {
      return (await import(pathToFileURL(file).href)) as { default?: unknown };
    } catch (error) {
      throw new UserError(`${name}: Expected a module that loads but received ${firstLine(String(error))}`);
    }
  };
  if (extname(name) !== '.ts') return load(resolve(name));
  // Beside its source, so that what it imports is found as from there.
  const folder = await makeFolder(name);
  try {
    await compile(name, folder);
    return await load(join(folder, basename(name, '.ts').concat('.js')));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function makeFolder(name: string): Promise<string> {
  try {
    const folder = await mkdtemp(join(resolve(dirname(name)), '.objective-'));
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    return folder;
  } catch {
    throw new UserError(
      `${name}: Expected its folder to be writable, to compile it there; copy it elsewhere, or compile it to .mjs`,
    );
  }
}

/** Strips the types of a file and of those it imports; they are not checked. */
async function compile(name: string, folder: string): Promise<void> {
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc');
  const settings = '--ignoreConfig --noCheck --target es2022 --module preserve --rewriteRelativeImportExtensions';
  const args = [tsc, ...settings.split(' '), '--rootDir', dirname(name), '--outDir', folder, name];
  try {
    await promisify(execFile)(process.execPath, args);
  } catch (error) {
    const { stdout = '', message } = error as Error & { stdout?: string };
    throw new UserError(`${name}: Expected valid TypeScript but received ${firstLine(stdout || message)}`);
  }
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0]!;
}

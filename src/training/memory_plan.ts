// What a run will hold in memory, from shapes and settings alone: before anything is loaded.

import { modelFamily } from '../../models/registry.js';
import { UserError } from '../errors.js';
import { quantisationOf, quantisedBytes } from '../nn/quantisation.js';
import { adapterParts, type Part, partShape, partsOf } from '../nn/shard.js';
import type { TrainConfig } from './config.js';
import type { LoadedObjective } from './objectives/objective.js';
import { momentBytes } from './optimizer.js';
import { savedWeights } from './saved_modules.js';
import { placeOf } from './state_parts.js';

/** Bytes of all ranks together. */
export interface MemoryPlan {
  /** The model's, and the adapters'. */
  readonly weights: number;
  /** f32, of what is trained. */
  readonly gradients: number;
  /** Moments, and f32 master weights where the weights are bf16. */
  readonly optimizer: number;
  /** At the peak of a backward pass. */
  readonly activations: number;
  /** What operations of GPUs work in. */
  readonly scratch: number;
  readonly total: number;
}

type MemorySettings = Pick<
  TrainConfig,
  | 'method'
  | 'lora'
  | 'dtype'
  | 'optimizer'
  | 'stochasticRounding'
  | 'activationCheckpointing'
  | 'mesh'
  | 'fullyShard'
  | 'device'
>;

/**
 * @param source the model's config.json
 * @param tokens that go through the model together
 * @param objective that declares what it holds of each token; null: no more than the loss itself does
 */
export function planMemory(
  source: Record<string, unknown>,
  settings: MemorySettings,
  tokens: number,
  objective: Pick<LoadedObjective, 'bytesPerToken'> | null = null,
): MemoryPlan {
  const specs = modelFamily(source).prepare(source).weights;
  const quantisation = quantisationOf(source);
  const { method, lora, optimizer, activationCheckpointing, fullyShard } = settings;
  const { dp, tp } = settings.mesh;
  // Of the last rank that holds the model together with others: no other has a larger part.
  const place = { rank: tp - 1, size: tp };
  const parts = partsOf(specs, place);
  const shapes = new Map([...parts].map(([name, part]) => [name, partShape(part)]));
  const size = settings.dtype === 'f32' ? 4 : 2;
  const weights = [...shapes.values()].reduce((sum, shape) => sum + product(shape), 0);
  const stored = [...specs].reduce((sum, [name, spec]) => {
    const form = quantisation?.covers(name, spec) ? quantisation.form : null;
    const shape = shapes.get(name)!;
    return sum + (form === null ? size * product(shape) : quantisedBytes(form, shape));
  }, 0);
  const matrices = [...shapes].filter(([name, shape]) => shape.length === 2 && /\.layers\.\d+\./.test(name));
  const adapted = matrices.filter(([name]) => {
    const module = name.replace(/\.weight$/, '');
    return method === 'lora' && lora.targetModules.some((target) => `.${module}`.endsWith(`.${target}`));
  });
  const adapterPartsOf = adapted.flatMap(([name]) => {
    const { a, b } = adapterParts(parts.get(name)!, lora.rank, place);
    return [a, b].map((part) => [name, part] as const);
  });
  const adapters = adapterPartsOf.reduce((sum, [, part]) => sum + product(partShape(part)), 0);
  const whole = method === 'full' ? [...shapes.keys()] : savedWeights([...shapes.keys()], lora.modulesToSave);
  const wholeSize = whole.reduce((sum, name) => sum + product(shapes.get(name)!), 0);
  const trainedParts: (readonly [string, Part])[] = [
    ...adapterPartsOf,
    ...whole.map((name) => [name, parts.get(name)!] as const),
  ];
  const trained = trainedParts.map(([name, part]) => [name, product(partShape(part))] as const);
  const trainable = trained.reduce((sum, [, count]) => sum + count, 0);
  const bits = optimizer === 'adamw_8bit' ? 8 : 32;
  const moments = trainedParts.reduce(
    (sum, [name, part]) => sum + momentBytes(name, product(partShape(part)), bits, placeOf(part, tp)),
    0,
  );
  const masters = size === 2 && !settings.stochasticRounding ? 4 * wholeSize : 0;

  // Elements per token. A layer keeps what its backward pass reads: its input, the inputs of its matrices, and what
  // attention and the gated product take. The layer at work adds, on its way forth, what it makes beside that (an adapted
  // layer drops inputs, and sums in f32 beside a quantised weight); on its way back, gradients.
  const embedding = [...shapes].find(([name]) => name.endsWith('embed_tokens.weight'))![1];
  const hidden = embedding[1]!;
  const layers = new Set(matrices.map(([name]) => /\.layers\.(\d+)\./.exec(name)![1])).size;
  const layer = matrices.filter(([name]) => name.includes('.layers.0.'));
  const outputs = layer.filter(([name]) => !/\.(o|down)_proj\.weight$/.test(name));
  const inputs = layer.filter(([name]) => /\.(o|down)_proj\.weight$/.test(name));
  const kept =
    3 * hidden +
    outputs.reduce((sum, [, shape]) => sum + shape[0]!, 0) +
    inputs.reduce((sum, [, shape]) => sum + shape[1]!, 0) +
    (adapters > 0 ? (adapted.length / layers) * lora.rank : 0);
  // Of these, norms and the gated activation.
  const activated = layer.find(([name]) => name.endsWith('down_proj.weight'))![1][1]!;
  const recomputed = 2 * hidden + activated;
  const byCheckpointing = { none: layers * kept, selective: layers * (kept - recomputed), layer: kept };
  const widest = Math.max(...layer.flatMap(([, shape]) => shape));
  const summed = layer.filter(([name]) => quantisation?.covers(name, specs.get(name)!));
  const sums = adapters > 0 && size === 2 ? 2 * summed.reduce((sum, [, shape]) => sum + shape[0]!, 0) : 0;
  const dropped = adapters > 0 && lora.dropout > 0 ? layer.reduce((sum, [, shape]) => sum + shape[1]!, 0) : 0;
  // What is there again while a layer is at work: its output and the gradients that wait for it, or its widest part.
  const again = { none: 0, selective: activated + 3 * hidden, layer: 3 * hidden }[activationCheckpointing];
  const forth = 5 * hidden + sums + dropped + again;
  const back = 3 * hidden + (dropped > 0 ? 5 : 3) * widest + again;
  const elements = layers * hidden + byCheckpointing[activationCheckpointing];
  // Beside layers, the loss: what the objective declares.
  const vocabulary = embedding[0]!;
  const declared = objective?.bytesPerToken?.({ hiddenSize: hidden, vocabSize: source.vocab_size as number }) ?? 0;
  const atWork = Math.max(Math.max(forth, back) * size, declared);
  // In f32 whatever the dtype: angles; of each layer, a number for each norm and head. And the adapters, rounded to the model's dtype.
  const heads = source.num_attention_heads as number;
  const layersKept = activationCheckpointing === 'layer' ? 1 : layers;
  const floats = ((source.head_dim as number | undefined) ?? hidden / heads) + layersKept * (heads / tp + 2);
  const rounded = size === 2 ? (2 * adapters * layersKept) / layers : 0;
  // The head's gradient is made beside the loss and added to the others in the backward pass.
  const trainsHead = whole.includes(shapes.has('lm_head.weight') ? 'lm_head.weight' : 'model.embed_tokens.weight');
  const head = trainsHead ? 4 * product(embedding) : 0;
  // Beside its part, a rank that keeps parts has two whole layers (one is gathered ahead), with the gradients of one, and what is
  // outside of them.
  const ofLayer = (counts: Iterable<readonly [string, number]>) =>
    [...counts].reduce((sum, [name, count]) => sum + (/\.layers\.\d+\./.test(name) ? count : 0), 0) / layers;
  const layerWeights = ofLayer([...shapes].map(([name, shape]) => [name, product(shape)]));
  const layerTrained = ofLayer(trained);
  const gathered = {
    weights: size * (weights - (layers - 2) * layerWeights) + (8 * adapters) / layers,
    gradients: 4 * (trainable - (layers - 1) * layerTrained),
  };
  const copies = fullyShard ? 1 : dp;
  const plan = {
    weights: tp * (copies * (stored + 4 * adapters) + (fullyShard ? dp * gathered.weights : 0)),
    gradients: tp * (copies * 4 * trainable + (fullyShard ? dp * gathered.gradients : 0)),
    optimizer: tp * copies * (moments + masters),
    activations: tp * dp * (tokens * (elements * size + atWork + 4 * floats) + rounded + head),
    scratch: settings.device.startsWith('cuda') ? tp * dp * scratchBytes(hidden, vocabulary, tokens) : 0,
  };
  return { ...plan, total: Object.values(plan).reduce((sum, bytes) => sum + bytes, 0) };
}

/**
 * The most that one operation asks of a GPU's scratch memory, which is taken with a quarter to spare: cross-entropy, of the logits of
 * a chunk of tokens beside these, and of a product's own (kernels/cross_entropy/cuda.cu, kernels/matmul/cuda_matmul.h).
 */
function scratchBytes(hidden: number, vocabulary: number, tokens: number): number {
  const product = 2 ** 25 + 32 * (4 * Math.max(hidden, vocabulary) + 256);
  return 1.25 * (product + Math.min(tokens, 1024) * (4 * vocabulary + 4 * hidden));
}

function product(shape: readonly number[]): number {
  return shape.reduce((result, length) => result * length, 1);
}

/** `1.2 GB (weights 300 MB, gradients …)` */
export function describeMemory({ total, scratch, ...plan }: MemoryPlan): string {
  const parts = Object.entries({ ...plan, ...(scratch > 0 ? { scratch } : {}) });
  return `${formatBytes(total)} (${parts.map(([name, bytes]) => `${name} ${formatBytes(bytes)}`).join(', ')})`;
}

export function formatBytes(bytes: number): string {
  return bytes < 1e9 ? `${Math.ceil(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/**
 * @param available bytes
 * @throws {UserError} when the plan needs more, with the setting that saves most
 */
export function expectMemory(plan: MemoryPlan, settings: MemorySettings, available: number): void {
  if (plan.total <= available) return;
  const remedies = [
    [
      plan.activations,
      settings.activationCheckpointing === 'layer' ? "lower 'sequenceLength'" : "set 'activationCheckpointing: layer'",
    ],
    [
      plan.weights,
      settings.mesh.dp > 1 && !settings.fullyShard
        ? "set 'fullyShard: true', or lower 'mesh.dp'"
        : "choose a smaller 'model' or 'dtype: bf16'",
    ],
    [plan.gradients + plan.optimizer, settings.method === 'full' ? "set 'method: lora'" : "lower 'lora.rank'"],
  ] as const;
  const [, remedy] = remedies.reduce((most, next) => (next[0] > most[0] ? next : most));
  throw new UserError(
    `Expected the run to fit into the ${formatBytes(available)} of free memory but it needs about ${describeMemory(plan)}; ${remedy}`,
  );
}

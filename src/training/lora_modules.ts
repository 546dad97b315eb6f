// LoRA adapters of a model's linear layers: which layers, how they start, and what they are called.

import { didYouMean, UserError } from '../errors.js';
import type { Linear } from '../nn/linear.js';
import type { CausalLM } from '../nn/model.js';
import { partShape, takePart } from '../nn/shard.js';
import { initialisationPurpose } from '../ops/random.js';
import { Tensor } from '../tensor/tensor.js';
import { uniform } from './philox.js';

export interface LoraOptions {
  readonly rank: number;
  readonly alpha: number;
  /** Probability of dropping an input of the adapter while training. */
  readonly dropout: number;
  /** A layer is adapted if its name is one of these, or ends in a dot and one of these. */
  readonly targetModules: readonly string[];
  /** Scale by alpha / √rank instead of alpha / rank. */
  readonly rsLora: boolean;
  /** Of the starting values and of the dropout masks. */
  readonly seed: number;
}

/** The factor of an adapter's output. */
export function loraScale({ rank, alpha, rsLora }: Pick<LoraOptions, 'rank' | 'alpha' | 'rsLora'>): number {
  return alpha / (rsLora ? Math.sqrt(rank) : rank);
}

/**
 * Puts an adapter on every layer that `targetModules` names: A uniform in ±1/√inputs (Kaiming-uniform with a = √5, as PEFT
 * starts it), B zero, so that the model computes what it did before.
 * @throws {UserError} for a target that names no layer, and for a rank above a layer's smaller dimension
 */
export function attachLora(model: CausalLM, options: LoraOptions): void {
  const modules = selectLinears(model, options.targetModules);
  for (const linear of modules) checkRank(linear, options.rank);
  const numbers = new Map([...model.linears.values()].map((linear, index) => [linear, index]));
  for (const linear of modules) {
    const parts = linear.adapterParts(options.rank);
    const inputs = linear.part.whole[1]!;
    const bound = 1 / Math.sqrt(inputs);
    const purpose = initialisationPurpose(numbers.get(linear)!);
    const whole = uniform(options.seed, purpose, 0, options.rank * inputs, -bound, bound);
    setAdapter(linear, {
      a: Tensor.from(model.device, takePart(whole, parts.a), partShape(parts.a)),
      b: Tensor.zeros(model.device, partShape(parts.b)),
      scale: loraScale(options),
      dropout: options.dropout,
      seed: options.seed,
    });
  }
  model.weightsChanged();
}

/** Gives a layer an adapter in place of the one it has. */
export function setAdapter(linear: Linear, adapter: NonNullable<Linear['adapter']>): void {
  disposeAdapter(linear);
  linear.adapter = adapter;
}

/** Takes every adapter off: the base model again. */
export function removeAdapters(model: CausalLM): void {
  for (const linear of model.linears.values()) disposeAdapter(linear);
  model.weightsChanged();
}

function disposeAdapter(linear: Linear): void {
  for (const tensor of linear.adapter ? [linear.adapter.a, linear.adapter.b] : []) {
    tensor.grad?.dispose();
    tensor.dispose();
  }
  linear.adapter = null;
}

/** The adapters' tensors by name: `model.layers.0.self_attn.q_proj.lora_A.weight`, f32 [rank, inputs], and `…lora_B.weight`, f32 [outputs, rank]. */
export function adapterTensors(model: CausalLM): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (const [name, { adapter }] of model.linears) {
    if (adapter === null) continue;
    tensors.set(`${name}.lora_A.weight`, adapter.a);
    tensors.set(`${name}.lora_B.weight`, adapter.b);
  }
  return tensors;
}

function selectLinears(model: CausalLM, targets: readonly string[]): Linear[] {
  const names = [...model.linears.keys()];
  const matches = (name: string, target: string): boolean => name === target || name.endsWith(`.${target}`);
  const unmatched = targets.find((target) => !names.some((name) => matches(name, target)));
  if (unmatched !== undefined) {
    const known = [...new Set(names.map((name) => name.slice(name.lastIndexOf('.') + 1)))];
    throw new UserError(
      `Expected 'lora.targetModules' to name linear layers of the model but received '${unmatched}'${didYouMean(unmatched, known)}; it has ${known.join(', ')}`,
    );
  }
  return [...model.linears.values()].filter((linear) => targets.some((target) => matches(linear.name, target)));
}

function checkRank(linear: Linear, rank: number): void {
  const smaller = Math.min(...linear.part.whole);
  if (rank > smaller) {
    throw new UserError(
      `Expected 'lora.rank' to be at most ${smaller}, the smaller dimension of ${linear.name}, but received ${rank}`,
    );
  }
}

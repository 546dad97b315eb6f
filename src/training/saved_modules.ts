// Modules that are trained whole beside LoRA's adapters and saved with them: PEFT's `modules_to_save`.

import { didYouMean, UserError } from '../errors.js';
import type { CausalLM } from '../nn/model.js';
import type { Tensor } from '../tensor/tensor.js';

const head = 'lm_head';
const embeddings = 'model.embed_tokens';

/** `model.norm` of `model.norm.weight`. */
const moduleOf = (weight: string): string => weight.replace(/\.(weight|bias)$/, '');

/**
 * The weights of the modules whose name is one of `modules`, or ends in a dot and one of these. Where embeddings are tied there is
 * no `lm_head`, and its name stands for them.
 * @param names of all weights of the model
 * @throws {UserError} for a name that no module has
 */
export function savedWeights(names: readonly string[], modules: readonly string[]): string[] {
  const known = new Set(names.map(moduleOf));
  const targets = modules.map((module) => (module === head && !known.has(head) ? embeddings : module));
  const matches = (name: string, target: string): boolean => name === target || name.endsWith(`.${target}`);
  const unmatched = targets.find((target) => ![...known].some((name) => matches(name, target)));
  if (unmatched !== undefined) {
    const last = [...new Set([...known].map((name) => name.slice(name.lastIndexOf('.') + 1)))];
    throw new UserError(
      `Expected 'lora.modulesToSave' to name modules of the model but received '${unmatched}'${didYouMean(unmatched, last)}; it has ${last.join(', ')}`,
    );
  }
  return names.filter((name) => targets.some((target) => matches(moduleOf(name), target)));
}

/** Whether a weight is of one of these modules in some model: `lm_head` may stand for the embeddings. */
export function mayBeSaved(weight: string, modules: readonly string[]): boolean {
  const targets = modules.includes(head) ? [...modules, embeddings] : modules;
  return targets.some((target) => `.${moduleOf(weight)}`.endsWith(`.${target}`));
}

/**
 * The saved modules of a model, by their weights' names.
 * @throws {UserError} for a name that no module has, and for a module that has an adapter
 */
export function savedTensors(model: CausalLM, modules: readonly string[]): Map<string, Tensor> {
  const names = savedWeights([...model.weights.keys()], modules);
  const adapted = names.find((name) => model.linears.get(moduleOf(name))?.adapter);
  if (adapted !== undefined) {
    throw new UserError(
      `Expected 'lora.modulesToSave' to name modules without an adapter but '${moduleOf(adapted)}' is among 'lora.targetModules'`,
    );
  }
  return new Map(names.map((name) => [name, model.weights.get(name)!]));
}

/** The names in a file: PEFT has a copy of the head where ours is the embeddings'. */
export function storedNames(model: CausalLM, weights: Iterable<string>): [stored: string, weight: string][] {
  return [...weights].flatMap((name) => {
    const tied = model.config.tiedEmbeddings && moduleOf(name) === embeddings;
    const own: [string, string] = [name, name];
    return tied ? [own, [`${head}.weight`, name] as [string, string]] : [own];
  });
}

/** As PEFT is told of them, which takes every module whose name ends so: the last part where that says which, else all of it. */
export function moduleNames(model: CausalLM, weights: Iterable<string>): string[] {
  const all = [...new Set([...model.weights.keys(), `${head}.weight`].map(moduleOf))];
  const chosen = new Set(storedNames(model, weights).map(([stored]) => moduleOf(stored)));
  return [...chosen].map((name) => {
    const last = name.slice(name.lastIndexOf('.') + 1);
    return all.filter((other) => other.endsWith(last)).length === 1 ? last : name;
  });
}

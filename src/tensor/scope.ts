import type { Tensor } from './tensor.js';

const scopes: Tensor[][] = [];

/** For the tensor layer: a new tensor belongs to the innermost scope, or to nobody but its holder. */
export function adopt(tensor: Tensor): void {
  scopes[scopes.length - 1]?.push(tensor);
}

/**
 * Runs `fn` and disposes every tensor created inside, except those in the returned value: a tensor, or arrays and plain
 * objects of them, at any depth. Those move to the enclosing scope.
 *
 * @throws TypeError when `fn` returns a promise: enqueueing is synchronous, so that scopes of an engine and a trainer that
 * interleave at awaits never mix.
 */
export function scope<R>(fn: () => R): R {
  const created: Tensor[] = [];
  scopes.push(created);
  let result: R;
  try {
    result = fn();
    refusePromise(result, 'scope');
  } catch (error) {
    for (const tensor of created) tensor.dispose();
    throw error;
  } finally {
    scopes.pop();
  }
  const kept = new Set<unknown>();
  collect(result, kept);
  for (const tensor of created) {
    if (kept.has(tensor)) adopt(tensor);
    else tensor.dispose();
  }
  return result;
}

/** For owners of tensors that outlive the scope they are made in: what `fn` creates belongs to the caller alone. */
export function withoutScope<R>(fn: () => R): R {
  const outer = scopes.splice(0);
  try {
    return fn();
  } finally {
    scopes.push(...outer);
  }
}

export function refusePromise(result: unknown, where: string): void {
  if (typeof (result as { then?: unknown } | null)?.then === 'function')
    throw new TypeError(
      `Expected the callback of ${where}() to be synchronous but it returned a promise; enqueue inside, await outside`,
    );
}

function collect(value: unknown, into: Set<unknown>): void {
  if (value === null || typeof value !== 'object' || into.has(value)) return;
  into.add(value);
  if (Array.isArray(value)) for (const item of value) collect(item, into);
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const item of Object.values(value)) collect(item, into);
}

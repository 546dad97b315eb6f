import { atBackward } from '../tensor/tape.js';
import type { ForwardContext } from './context.js';

/**
 * Told which layer is at work, so that its weights can be there for just that long and its gradients go to the other ranks as
 * soon as they are whole. With activation checkpointing a layer's forward pass runs again within its backward pass.
 */
export interface LayerHooks {
  beforeForward(layer: number): void;
  afterForward(layer: number): void;
  beforeBackward(layer: number): void;
  /** The gradients of the layer's weights are whole, if no weight is used in two layers. */
  afterBackward(layer: number): void;
}

/** Runs the forward pass of one layer, with the hooks of the context around it and around its backward pass. */
export function inLayer<R>(context: ForwardContext, layer: number, fn: () => R): R {
  const hooks = context.kind === 'packed' ? context.layers : undefined;
  if (!hooks) return fn();
  hooks.beforeForward(layer);
  atBackward(() => hooks.afterBackward(layer));
  const result = fn();
  hooks.afterForward(layer);
  atBackward(() => hooks.beforeBackward(layer));
  return result;
}

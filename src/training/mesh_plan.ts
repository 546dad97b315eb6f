// How fast a training run would be on many devices, from what one does.

import { estimateStep, type Links, type StepEstimate } from '../distributed/communication.js';
import { type MeshShape, meshSize } from '../distributed/mesh_shape.js';
import type { TrainConfig } from './config.js';
import { planMemory } from './memory_plan.js';
import { stepExchanges } from './step_exchange.js';

export interface MeshPlan {
  readonly mesh: MeshShape;
  readonly step: StepEstimate;
  /** Of all devices together. */
  readonly tokensPerSecond: number;
  /** Of as many devices that never wait: 1 at best. */
  readonly efficiency: number;
  /** Bytes of a device. */
  readonly memory: number;
}

/** The backward pass's share of a micro-batch's products; see {@link import('./utilisation.js').windowFlops}. */
function backwardShare({ method, activationCheckpointing }: TrainConfig): number {
  const backward = (method === 'full' ? 4 : 2) + (activationCheckpointing === 'layer' ? 2 : 0);
  return backward / (2 + backward);
}

/**
 * Packs are taken to be full, and a model's products to divide evenly over `tp`.
 * @param source the model's config.json
 * @param rate tokens a second of one device
 * @throws {UserError} for a mesh that the model or a node cannot be divided into
 */
export function planMesh(
  source: Record<string, unknown>,
  config: TrainConfig,
  rate: number,
  links: Links,
  gpusPerNode: number,
): MeshPlan {
  const { mesh, gradientAccumulation, sequenceLength, microBatch } = config;
  const passes = Math.ceil(gradientAccumulation / mesh.dp);
  const tokens = sequenceLength * microBatch;
  const seconds = tokens / (rate * mesh.tp);
  const share = backwardShare(config);
  const compute = { passes, forward: seconds * (1 - share), backward: seconds * share };
  const step = estimateStep(stepExchanges(source, config, { passes, tokens }), compute, mesh, links, gpusPerNode);
  const tokensPerSecond = (gradientAccumulation * tokens) / step.seconds;
  return {
    mesh,
    step,
    tokensPerSecond,
    efficiency: tokensPerSecond / (rate * meshSize(mesh)),
    memory: planMemory(source, config, tokens).total / meshSize(mesh),
  };
}

/** Every way to use 8 and 64 devices with a model on one node. */
export function usualMeshes(gpusPerNode: number): MeshShape[] {
  return [8, 64].flatMap((devices) =>
    [1, 2, 4, 8].filter((tp) => gpusPerNode % tp === 0).map((tp) => ({ dp: devices / tp, tp })),
  );
}

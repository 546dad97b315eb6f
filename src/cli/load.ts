/** Opens a device and loads a model on it, for commands that need the weights. */
import { availableParallelism } from 'node:os';
import { meshSize } from '../distributed/mesh_shape.js';
import type { LeadingProcess } from '../distributed/run_threads.js';
import type { EngineOptions } from '../engine/engine.js';
import type { RequestServer } from '../engine/request_server.js';
import type { LoadedModel } from '../nn/load.js';
import { defaultDtype } from '../tensor/dtype.js';
import type { GlobalOptions } from './options.js';

/** What the commands use when neither option nor file names a device. */
export const defaultDevice = 'cpu';

/**
 * Loads `model`, gives it to `work` and closes the device after it. The addon is loaded here and not before, so that
 * `--help` and mistakes in options need no build.
 */
export async function withModel<T>(
  model: string,
  { device: name = defaultDevice, dtype, threads }: GlobalOptions,
  work: (loaded: LoadedModel) => Promise<T>,
): Promise<T> {
  const { Device } = await import('../tensor/device.js');
  const { loadModel } = await import('../nn/load.js');
  const device = Device.open(name, threads === undefined ? {} : { threads });
  const loaded = await loadModel(model, dtype === undefined ? { device } : { device, dtype });
  try {
    return await work(loaded);
  } finally {
    loaded.model.dispose();
    await device.close();
  }
}

/** An engine, or replicas of one, and what its rows depend on beside prompts and parameters. */
export interface OpenEngine {
  engine: RequestServer<unknown>;
  dependencies: unknown[];
}

/**
 * Opens an engine for `model` on the devices of the mesh, those of other processes among them where this one leads, gives it to `work` and
 * closes it after it.
 */
export async function withEngine<T>(
  model: string,
  options: GlobalOptions,
  { engine: engineOptions, leader }: { engine: EngineOptions; leader: LeadingProcess | null },
  work: (open: OpenEngine) => Promise<T>,
): Promise<T> {
  const { device = defaultDevice, dtype, threads = availableParallelism(), mesh = { dp: 1, tp: 1 } } = options;
  if (meshSize(mesh) === 1) {
    return withModel(model, options, async (loaded) => {
      const { Engine } = await import('../engine/engine.js');
      const engine = Engine.create(loaded, engineOptions);
      const { device, dtype } = loaded.model;
      return closing(engine, () => work({ engine, dependencies: [loaded.files.fingerprint, device.name, dtype] }));
    });
  }
  const { resolveModel } = await import('../weights/model_files.js');
  const { Replicas } = await import('../distributed/replicas.js');
  const { fingerprint, weights } = await resolveModel(model);
  weights.close();
  const engine = await Replicas.create(mesh, { model, device, dtype, threads, engine: engineOptions }, leader);
  // Which replica wrote a row does not matter, so they go on from what one engine left; over how many ranks its sums were divided does.
  const ranks = mesh.tp > 1 ? [{ tp: mesh.tp }] : [];
  return closing(engine, () =>
    work({ engine, dependencies: [fingerprint, device, dtype ?? defaultDtype(device), ...ranks] }),
  );
}

async function closing<T>(engine: RequestServer<unknown>, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await engine.close();
  }
}

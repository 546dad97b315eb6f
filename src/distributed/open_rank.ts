import type { RankSetup } from '../engine/followers.js';
import { type LoadedModel, loadModel } from '../nn/load.js';
import { Device } from '../tensor/device.js';
import { loadAdapter } from '../training/adapter_files.js';
import { Communicator } from './communicator.js';

export interface OpenRank {
  readonly loaded: LoadedModel;
  close(): Promise<void>;
}

/** Opens a rank's device, joins its group and loads its part of the model, with the adapter if there is one. */
export async function openRank(setup: RankSetup): Promise<OpenRank> {
  const { model, text, adapter, dtype, threads, ranks, rank } = setup;
  const device = Device.open(setup.device, { threads });
  try {
    const group = ranks > 1 ? new Communicator(device, setup.group, rank, ranks) : null;
    const loaded = await loadModel(model, { device, ...(dtype && { dtype }), text, group });
    if (adapter !== undefined) await loadAdapter(adapter, loaded.model);
    return {
      loaded,
      async close() {
        loaded.model.dispose();
        await device.close();
      },
    };
  } catch (error) {
    await device.close(); // which tells the other ranks
    throw error;
  }
}

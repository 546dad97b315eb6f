/** Opens a device and loads a model on it, for commands that need the weights. */
import type { LoadedModel } from '../nn/load.js';
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

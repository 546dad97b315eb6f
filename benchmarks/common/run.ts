import { bestRates, measureRates, type Rates } from '../../src/bench/rates.js';
import { runMain } from '../../src/cli/run_main.js';
import { Device } from '../../src/tensor/device.js';
import { readEnvironment } from './environment.js';
import { type Result, writeResult } from './result.js';

/** `rates`: where the work measured them more often. */
type Outcome = Omit<Result, 'environment' | 'rates'> & { readonly rates?: Rates };

/**
 * The frame of every benchmark: opens the device, measures the machine before and after, writes the result.
 * @param finish makes the result from the work's outcome, once the machine's rates are known.
 */
export async function runBenchmark<T>(
  { threads, out }: { threads: number; out: string },
  work: (device: Device) => Promise<T>,
  finish: (outcome: T, rates: Rates) => Outcome,
): Promise<void> {
  await runMain(async () => {
    const environment = readEnvironment();
    const device = Device.open('cpu', threads > 0 ? { threads } : {});
    try {
      const before = await measureRates(device);
      const outcome = await work(device);
      const rates = bestRates(before, await measureRates(device));
      writeResult(out, { environment, rates, ...finish(outcome, rates) });
    } finally {
      await device.close();
    }
  });
}

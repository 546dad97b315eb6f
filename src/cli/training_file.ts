/** A training file in either form, this project's or Axolotl's. */
import { UserError } from '../errors.js';
import type { TrainConfig } from '../training/config.js';
import { type GlobalOptions, overlay } from './options.js';

/**
 * The settings that a YAML file says, with the options that were given in place of its own. What a file of Axolotl's becomes is
 * written to stderr, line by line.
 * @throws UserError, one line, for what is wrong with the file
 */
export async function parseTrainingFile(value: unknown, file: string, options: GlobalOptions): Promise<TrainConfig> {
  const { parseTrainConfig } = await import('../training/config.js');
  const axolotl = await import('../training/axolotl.js');
  if (!axolotl.isAxolotl(value)) return parseTrainConfig(overlay(value, options), file);
  const reading = axolotl.readAxolotl(value, file);
  console.error(`${file} is Axolotl's; read as\n${axolotl.describeAxolotl(reading)}`);
  axolotl.expectHonoured(reading, file);
  try {
    return parseTrainConfig(overlay(reading.settings, options), file);
  } catch (error) {
    // The message names the key as it is here.
    throw new UserError(`${(error as Error).message} (the lines above say which of its keys that is)`, {
      cause: error,
    });
  }
}

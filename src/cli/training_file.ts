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
  return (await readTrainingFile(value, file))(options);
}

/** The same for several sets of options. */
export async function readTrainingFile(
  value: unknown,
  file: string,
): Promise<(options: GlobalOptions, more?: object) => TrainConfig> {
  const { parseTrainConfig } = await import('../training/config.js');
  const axolotl = await import('../training/axolotl.js');
  const parse = (settings: unknown, options: GlobalOptions, more: object): TrainConfig => {
    const given = overlay(settings, options);
    return parseTrainConfig(typeof given === 'object' && given !== null ? { ...given, ...more } : given, file);
  };
  if (!axolotl.isAxolotl(value)) return (options, more = {}) => parse(value, options, more);
  const reading = axolotl.readAxolotl(value, file);
  console.error(`${file} is Axolotl's; read as\n${axolotl.describeAxolotl(reading)}`);
  axolotl.expectHonoured(reading, file);
  return (options, more = {}) => {
    try {
      return parse(reading.settings, options, more);
    } catch (error) {
      // The message names the key as it is here.
      throw new UserError(`${(error as Error).message} (the lines above say which of its keys that is)`, {
        cause: error,
      });
    }
  };
}

/** The YAML of a study says who teaches; that of a training run says what data to train on. */
export function isStudy(settings: unknown): boolean {
  return typeof settings === 'object' && settings !== null && 'students' in settings && !('data' in settings);
}

/** That of a training run, in either form: it says what data to train on. */
export function isTraining(settings: unknown): boolean {
  return typeof settings === 'object' && settings !== null && ('data' in settings || 'base_model' in settings);
}

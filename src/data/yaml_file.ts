import { readFile } from 'node:fs/promises';
import { parse, YAMLParseError } from 'yaml';
import { UserError } from '../errors.js';

/**
 * Reads a YAML file. @returns what it says, and its text as it stood.
 * @throws UserError naming the file, and the line of a mistake.
 */
export async function readYaml(file: string): Promise<{ value: unknown; text: string }> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch {
    throw new UserError(`${file}: Expected a readable YAML file; check the path`);
  }
  try {
    return { value: parse(text), text };
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    const line = error.linePos?.[0].line;
    const reason = error.message.split('\n')[0]!.replace(/ at line \d+, column \d+:$/, '');
    throw new UserError(`${file}${line ? `:${line}` : ''}: Expected valid YAML: ${reason}`);
  }
}

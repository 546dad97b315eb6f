// Reads Axolotl's YAML: what each key becomes here, or why it needs nothing, or that it cannot be honoured.

import { didYouMean, UserError } from '../errors.js';
import type { Outcome } from './axolotl_outcomes.js';
import { axolotlDefaults, axolotlRules } from './axolotl_rules.js';

/** One key of the file and what became of it. */
export interface AxolotlLine {
  /** As in the file, with its path: `datasets[0].type`. */
  readonly key: string;
  readonly kind: 'mapped' | 'ignored' | 'refused' | 'default';
  /** `data: rows.jsonl`, or a reason. */
  readonly text: string;
}

export interface AxolotlReading {
  /** A training file's settings, still to be checked. */
  readonly settings: Record<string, unknown>;
  readonly lines: readonly AxolotlLine[];
}

/** Whether a YAML file is one of Axolotl's: it names a `base_model`, and nothing else here does. */
export function isAxolotl(file: unknown): file is Record<string, unknown> {
  return typeof file === 'object' && file !== null && 'base_model' in file;
}

/**
 * Translates a file. What it leaves out is as Axolotl has it, not as here: those lines are of kind `default`.
 * @param where what the message of an error starts with, the file's name
 * A key that is not known is refused like one that cannot be honoured, with the nearest one that is.
 * @throws {UserError} one line for two keys that say different things
 */
export function readAxolotl(file: Readonly<Record<string, unknown>>, where: string): AxolotlReading {
  const settings: Record<string, unknown> = {};
  const lines: AxolotlLine[] = [];
  const note = (key: string, outcome: Outcome, fallback = false): void => {
    if ('settings' in outcome) {
      for (const [path, value] of Object.entries(outcome.settings)) set(settings, path, value, key, where);
      const text = Object.entries(outcome.settings).map(([path, value]) => `${path}: ${show(value)}`);
      const remark = outcome.remark === undefined ? '' : ` (${outcome.remark})`;
      lines.push({ key, kind: fallback ? 'default' : 'mapped', text: text.join(', ') + remark });
    } else if ('ignored' in outcome) lines.push({ key, kind: fallback ? 'default' : 'ignored', text: outcome.ignored });
    else if ('refused' in outcome) lines.push({ key, kind: 'refused', text: outcome.refused });
    else for (const [inner, part] of outcome.parts) note(`${key}${inner}`, part, fallback);
  };
  for (const [key, value] of Object.entries(file)) {
    const rule = ruleOf(key);
    note(key, rule === undefined ? unknown(key) : rule(value, file));
  }
  for (const [key, rule] of Object.entries(axolotlDefaults)) {
    const outcome = rule(file);
    if (file[key] === undefined && outcome !== null) note(key, outcome, true);
  }
  return { settings, lines };
}

/** A key that may decide the result, for all that is known here: it stops the run, beside all others that do. */
function unknown(key: string): Outcome {
  const nearest = didYouMean(key, Object.keys(axolotlRules));
  return { refused: `no key that is known here${nearest}; correct it, or remove it if the run does not need it` };
}

function ruleOf(key: string) {
  if (Object.hasOwn(axolotlRules, key)) return axolotlRules[key];
  const family = Object.keys(axolotlRules).find((name) => name.endsWith('*') && key.startsWith(name.slice(0, -1)));
  return family === undefined ? undefined : axolotlRules[family];
}

/** Several keys may add to these. */
const lists = ['data', 'addedTokens', 'lora.targetModules'];

/** Sets `lora.rank`, say; two keys of the file that say different things are an error. */
function set(settings: Record<string, unknown>, path: string, value: unknown, key: string, where: string): void {
  const parts = path.split('.');
  const last = parts.pop()!;
  let target = settings;
  for (const part of parts) {
    target[part] ??= {};
    target = target[part] as Record<string, unknown>;
  }
  if (lists.includes(path)) target[last] = [...((target[last] ?? []) as unknown[]), ...(value as unknown[])];
  else if (target[last] !== undefined && JSON.stringify(target[last]) !== JSON.stringify(value))
    throw new UserError(
      `${where}: Expected '${key}' to agree with the keys before it but received ${show(value)} for '${path}', which is ${show(target[last])}; keep one of them`,
    );
  else target[last] = value;
}

function show(value: unknown): string {
  if (typeof value !== 'string') return JSON.stringify(value);
  const line = value.includes('\n') ? `${value.slice(0, value.indexOf('\n'))}…` : value;
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}

/** The lines as a person reads them. */
export function describeAxolotl({ lines }: AxolotlReading): string {
  const width = Math.max(...lines.map(({ key }) => key.length));
  const words = { mapped: '→', ignored: 'ignored:', refused: 'REFUSED:', default: 'not given →' };
  return lines.map(({ key, kind, text }) => `  ${key.padEnd(width)}  ${words[kind]} ${text}`).join('\n');
}

/** @throws {UserError} when the file asks for what there is not */
export function expectHonoured({ lines }: AxolotlReading, where: string): void {
  const [first, ...others] = lines.filter(({ kind }) => kind === 'refused');
  if (first === undefined) return;
  const more = others.length > 0 ? ` (nor can ${others.map(({ key }) => `'${key}'`).join(', ')})` : '';
  throw new UserError(`${where}: '${first.key}' cannot be honoured: ${first.text}${more}`);
}

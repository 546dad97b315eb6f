/** Prompt templates: `{{name}}` is filled in, everything else stands for itself. */
import { didYouMean } from '../errors.js';

const placeholder = /\{\{\s*(\w+)\s*\}\}/g;

/** @returns what is wrong with a template, to stand behind "Expected … to be", or null. */
export function checkTemplate(text: string, allowed: readonly string[], required: readonly string[]): string | null {
  const used = [...text.matchAll(placeholder)].map((match) => match[1]!);
  const unknown = used.find((name) => !allowed.includes(name));
  if (unknown !== undefined) {
    const known = allowed.map((name) => `{{${name}}}`).join(', ');
    return `a template of ${known} without {{${unknown}}}${didYouMean(unknown, allowed)}`;
  }
  const missing = required.find((name) => !used.includes(name));
  return missing === undefined ? null : `a template that holds {{${missing}}}`;
}

/** Fills in a checked template, in one pass: what is filled in is not looked at again. */
export function fillTemplate(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(placeholder, (whole, name: string) => values[name] ?? whole);
}

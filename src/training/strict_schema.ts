// Parsing of what people write (settings, rows of data): a zod schema in, one-line errors out. An unknown key names the nearest known one.

import type { z } from 'zod';
import { didYouMean, UserError } from '../errors.js';

/**
 * Parses `value` with `schema` (objects of which should be strict).
 * @param where what messages start with, a file name, say; nothing where a caller puts that in front
 * @throws {UserError} for the first thing that is wrong
 */
export function parseStrict<S extends z.ZodType>(schema: S, value: unknown, where = ''): z.output<S> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  // A misspelt key shows twice, as one that is unknown and one that is missing; the first says more.
  const { issues } = result.error;
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0]!;
  throw new UserError(`${where && `${where}: `}${describe(issue, schema)}`);
}

function describe(issue: z.core.$ZodIssue, schema: z.ZodType): string {
  const path = issue.path.map(String).join('.');
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0]!;
    const known = knownKeys(schema, issue.path);
    const name = path ? `${path}.${key}` : key;
    return `Unknown key '${name}'${didYouMean(key, known) || `; known keys: ${known.join(', ')}`}`;
  }
  if (issue.code === 'invalid_union') {
    // The branch that got furthest says most: prefer one that does not merely fail on the type.
    const branch = issue.errors.flat().find((inner) => inner.code !== 'invalid_type') ?? issue.errors.flat()[0];
    if (branch) return describe({ ...branch, path: [...issue.path, ...branch.path] } as z.core.$ZodIssue, schema);
  }
  const received = issue.input === undefined ? 'nothing' : shorten(JSON.stringify(issue.input) ?? String(issue.input));
  return `Expected ${path ? `'${path}'` : 'the top level'} to be ${expectation(issue)} but received ${received}`;
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.expected === 'int' ? 'an integer' : article(issue.expected);
    case 'invalid_value':
      return `one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      if (issue.origin === 'string' || issue.origin === 'array') return `non-empty (at least ${issue.minimum} long)`;
      return `${issue.inclusive ? '≥' : '>'} ${issue.minimum}`;
    case 'too_big':
      return `${issue.inclusive ? '≤' : '<'} ${issue.maximum}`;
    default:
      return issue.message;
  }
}

function article(noun: string): string {
  return /^[aeiou]/.test(noun) ? `an ${noun}` : `a ${noun}`;
}

function shorten(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** The keys of the object schema at `path`, through defaults, optionals, unions and pipes. */
function knownKeys(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let candidates: z.core.$ZodType[] = unwrap(schema);
  for (const part of path) {
    candidates = candidates.flatMap((candidate) => {
      const definition = (candidate as z.core.$ZodTypes)._zod.def;
      if (definition.type === 'object') {
        const inner = definition.shape[String(part)];
        return inner ? unwrap(inner) : [];
      }
      if (definition.type === 'array') return unwrap(definition.element);
      if (definition.type === 'record') return unwrap(definition.valueType);
      return [];
    });
  }
  return candidates.flatMap((candidate) => {
    const definition = (candidate as z.core.$ZodTypes)._zod.def;
    return definition.type === 'object' ? Object.keys(definition.shape) : [];
  });
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType[] {
  const definition = (schema as z.core.$ZodTypes)._zod.def;
  switch (definition.type) {
    case 'optional':
    case 'nullable':
    case 'default':
    case 'prefault':
      return unwrap(definition.innerType);
    case 'pipe':
      return unwrap(definition.in);
    case 'union':
      return definition.options.flatMap(unwrap);
    default:
      return [schema];
  }
}

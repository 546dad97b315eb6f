import { didYouMean, UserError } from '../errors.js';

export type Shape = Readonly<Record<string, number>>;

/**
 * Reads `--shape`: sizes by name, `M=64,K=576`, or in the order of `defaults`, `64x1536x576` (also ×); what is left out keeps its default.
 * @throws UserError for an unknown name, too many sizes or a size that is no positive whole number.
 */
export function parseShape(text: string | undefined, defaults: Shape): Shape {
  const names = Object.keys(defaults);
  if (text === undefined || text.trim() === '') return defaults;
  const form = `Expected '--shape' like ${formatShape(defaults)} or ${Object.values(defaults).join('x')}`;
  const shape: Record<string, number> = { ...defaults };
  const parts = text.includes('=') ? text.split(',') : text.split(/[x×]/i);
  if (parts.length > names.length) throw new UserError(`${form} but received ${parts.length} sizes`);
  for (const [index, part] of parts.entries()) {
    const [name, size] = text.includes('=')
      ? (part.split('=').map((piece) => piece.trim()) as [string, string | undefined])
      : [names[index]!, part];
    if (!names.includes(name))
      throw new UserError(`${form} but received '${name}'${didYouMean(name, names)}; it has ${names.join(', ')}`);
    const value = Number(size);
    if (!Number.isSafeInteger(value) || value < (defaults[name] === 0 ? 0 : 1))
      throw new UserError(`${form} but received '${part.trim()}'`);
    shape[name] = value;
  }
  return shape;
}

/** `M=64,N=1536,K=576` */
export function formatShape(shape: Shape): string {
  return Object.entries(shape)
    .map(([name, size]) => `${name}=${size}`)
    .join(',');
}

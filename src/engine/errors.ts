import { UserError } from '../errors.js';

/** A wrong argument: its name, what was expected of it, and what came. */
export class ArgumentError extends UserError {
  readonly argument: string;
  readonly expected: string;
  readonly received: unknown;

  constructor(argument: string, expected: string, received: unknown, hint = '') {
    super(`Expected '${argument}' to be ${expected} but received ${show(received)}${hint}`);
    this.argument = argument;
    this.expected = expected;
    this.received = received;
  }
}

/** The engine is no longer able to serve: a forward pass failed, or it was closed. `cause` holds the failure. */
export class EngineStoppedError extends UserError {}

function show(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

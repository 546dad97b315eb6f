/**
 * A Jinja template with a bound on what rendering it may cost. A chat template comes with a model and is code of somebody
 * else's: without a bound a loop over `range(10**9)`, or a list that doubles itself, takes the whole machine. Every value that
 * an expression yields is charged by its size, nested values as often as they occur in it, before anything works on it; so
 * the budget bounds time and memory, is the same on every machine, and needs no clock.
 */
import { Environment, Interpreter, Template } from '@huggingface/jinja';

/** A value of the interpreter: text, number, list, mapping, function or nothing. */
interface Value {
  value: unknown;
}

// The package's own declarations of these do not resolve for ES modules.
interface JinjaEnvironment {
  set(name: string, value: unknown): void;
}
interface JinjaInterpreter {
  run(program: unknown): Value;
  evaluate(statement: unknown, environment: JinjaEnvironment): Value;
}
const JinjaEnvironment = Environment as new () => JinjaEnvironment;
const JinjaInterpreter = Interpreter as new (environment: JinjaEnvironment) => JinjaInterpreter;

/** A template's own text; those of published models have up to 20,000 characters. */
const sourceCharacters = 1 << 20;
/** Of one text that a template makes. */
const textCharacters = 1 << 24;
/** Steps of a rendering, about, and more for each message: published templates take some 500 for one of 2,000 characters. */
const baseUnits = 1_000_000;
const unitsPerMessage = 3000;
/** Characters that cost as much as a step. */
const charactersPerUnit = 64;

class Budget {
  #left: number;

  constructor(units: number) {
    this.#left = units;
  }

  spend(units: number): void {
    this.#left -= units;
    if (this.#left < 0) throw new Error('it takes too many steps or too much memory');
  }

  /** Of a value with everything inside it, however often it is there. */
  charge(value: Value | undefined): void {
    const inside = value?.value;
    if (typeof inside === 'string') {
      if (inside.length > textCharacters) throw new Error(`it makes a text of ${inside.length} characters`);
      this.spend(inside.length / charactersPerUnit);
    } else if (Array.isArray(inside)) {
      this.spend(1 + inside.length);
      for (const item of inside) this.charge(item);
    } else if (inside instanceof Map) {
      this.spend(1 + inside.size);
      for (const item of inside.values()) this.charge(item);
    }
  }
}

class BoundedInterpreter extends JinjaInterpreter {
  readonly #budget: Budget;

  constructor(environment: JinjaEnvironment, budget: Budget) {
    super(environment);
    this.#budget = budget;
  }

  override evaluate(statement: unknown, environment: JinjaEnvironment): Value {
    this.#budget.spend(1);
    const value = super.evaluate(statement, environment);
    this.#budget.charge(value);
    return value;
  }
}

/** As Python's. The numbers are charged before they are made. */
function boundedRange(budget: Budget) {
  return (first: number, second?: number, step = 1): number[] => {
    const [start, stop] = second === undefined ? [0, first] : [first, second];
    if (step === 0) throw new Error('range() needs a step other than 0');
    const count = Math.max(0, Math.ceil((stop - start) / step));
    budget.spend(count);
    return Array.from({ length: count }, (_, index) => start + index * step);
  };
}

const timeTemplate = new Template('{{ strftime_now(format) }}');

export class BoundedTemplate {
  readonly #parsed: unknown;

  /** @throws Error when the source cannot be parsed, or is longer than a template is */
  constructor(source: string) {
    if (source.length > sourceCharacters) throw new Error(`it has ${source.length} characters`);
    this.#parsed = new Template(source).parsed;
  }

  /** @throws Error when the template raises one, or goes beyond its bounds */
  render(variables: Readonly<Record<string, unknown>>): string {
    const { messages } = variables;
    const budget = new Budget(baseUnits + unitsPerMessage * (Array.isArray(messages) ? messages.length : 0));
    const environment = new JinjaEnvironment();
    const globals = {
      ...{ true: true, false: false, none: null, True: true, False: false, None: null },
      raise_exception: (message: string) => {
        throw new Error(message);
      },
      range: boundedRange(budget),
      strftime_now: (format: string) => timeTemplate.render({ format }),
    };
    for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
    return new BoundedInterpreter(environment, budget).run(this.#parsed).value as string;
  }
}

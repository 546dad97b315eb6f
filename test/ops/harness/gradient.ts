/** Central differences of a forward reference against the reference of its backward operation, all in f64. */
import type { OpContract } from '../../../src/native.js';
import { contracts } from './arguments.js';
import { expectedOf } from './compare.js';
import { elements, normal } from './data.js';
import type { GradientCheck, OpCase, OpCases, References, TensorSpec } from './types.js';

const limit = 600;

const gradientName = (name: string): string => `d${name}`.toLowerCase();
const isFloat = (spec: TensorSpec): boolean => spec.dtype === 'f32' || spec.dtype === 'bf16';

/** The cases a gradient check runs on: f32 alone, and few enough elements. */
export function suitable(cases: OpCases): OpCase[] {
  return cases.cases.filter(({ tensors, attributes, smooth }) => {
    const specs = Object.values(tensors);
    const inputs = specs.filter((spec) => spec.data && isFloat(spec));
    return (
      smooth !== false &&
      typeof attributes !== 'function' &&
      specs.every((spec) => spec.dtype !== 'bf16') &&
      inputs.reduce((count, spec) => count + elements(spec.shape), 0) <= limit &&
      inputs.some((spec) => elements(spec.shape) > 0)
    );
  });
}

/** The gradients that differ, in words. */
export function gradientDifferences(forward: OpCases, backward: OpCases, check: GradientCheck, one: OpCase): string[] {
  const attributes = (one.attributes ?? {}) as Record<string, number>;
  const values = expectedOf(forward, one, attributes);
  const contract = contracts.get(forward.op)!;
  const outputs = contract.tensors.filter(({ name, access }) => access !== 'in' && values[name]);
  const sources = sourcesOf(contracts.get(backward.op)!, check);

  // The loss is Σ upstream · output over the outputs whose gradient the backward operation takes.
  const upstream: Record<string, Float64Array> = {};
  for (const [position, { name }] of outputs.entries()) {
    const taken = check.unitUpstream
      ? position === 0
      : [...sources.values()].some((source) => source.toLowerCase() === gradientName(name));
    const count = values[name]!.data.length;
    if (taken) upstream[name] = check.unitUpstream ? new Float64Array(count).fill(1) : normal(77 + position)(count);
  }
  const loss = (tensors: OpCase['tensors']): number => {
    const result = expectedOf(forward, { tensors }, attributes);
    let total = 0;
    for (const [name, weights] of Object.entries(upstream))
      for (const [index, weight] of weights.entries()) total += weight * result[name]!.data[index]!;
    return total;
  };

  const { tensors, wanted } = backwardCall(contracts.get(backward.op)!, sources, one, values, upstream, contract);
  const backwardAttributes = check.attributes
    ? check.attributes(attributes)
    : pick(attributes, contracts.get(backward.op)!.attributes);
  const gradients = expectedOf(backward, { tensors }, backwardAttributes);

  const found: string[] = [];
  if (wanted.size === 0) found.push(`${backward.op} gives no gradient of any input of ${forward.op}`);
  for (const [output, name] of wanted) {
    const spec = one.tensors[name]!;
    for (let index = 0; index < spec.data!.length && found.length < 5; index += 1) {
      const step = 1e-5 * Math.max(1, Math.abs(spec.data![index]!));
      const shifted = (by: number): number => {
        const data = Float64Array.from(spec.data!);
        data[index]! += by;
        return loss({ ...one.tensors, [name]: { ...spec, data } });
      };
      const numeric = (shifted(step) - shifted(-step)) / (2 * step);
      const analytic = gradients[output]!.data[index]!;
      const error = Math.abs(numeric - analytic);
      // A central difference is off by step² · f‴/6 and by the rounding of the loss over the step.
      if (!(error <= 1e-6 * Math.max(1, Math.abs(analytic))))
        found.push(`${output}[${index}]: ${analytic} but central difference ${numeric}`);
    }
  }
  return found;
}

function pick(attributes: Record<string, number>, names: readonly string[]): Record<string, number> {
  return Object.fromEntries(names.map((name) => [name, attributes[name]!]));
}

/** Argument of the backward operation → what it stands for. */
function sourcesOf(backward: OpContract, check: GradientCheck): Map<string, string> {
  return new Map(backward.tensors.map(({ name }) => [name, check.arguments?.[name] ?? name]));
}

function backwardCall(
  backward: OpContract,
  sources: Map<string, string>,
  one: OpCase,
  values: References,
  upstream: Record<string, Float64Array>,
  forward: OpContract,
): { tensors: OpCase['tensors']; wanted: Map<string, string> } {
  const tensors: OpCase['tensors'] = {};
  const wanted = new Map<string, string>();
  for (const { name, access, optional } of backward.tensors) {
    const source = sources.get(name)!;
    const value = values[source];
    const below = forward.tensors.find((parameter) => gradientName(parameter.name) === source.toLowerCase());
    if (access === 'in' && value) {
      tensors[name] = { dtype: 'f32', shape: value.shape, data: value.data };
      if (one.tensors[source]?.dtype === 'i32') tensors[name].dtype = 'i32';
    } else if (access === 'in' && below && upstream[below.name]) {
      tensors[name] = { dtype: 'f32', shape: values[below.name]!.shape, data: upstream[below.name]! };
    } else if (access !== 'in' && below && one.tensors[below.name]?.data) {
      const shape = one.tensors[below.name]!.shape;
      tensors[name] = { dtype: 'f32', shape, data: access === 'inout' ? new Float64Array(elements(shape)) : null };
      wanted.set(name, below.name);
    } else if (access !== 'in' && value) {
      tensors[name] = { dtype: value.dtype as 'f32', shape: value.shape, data: null };
    } else if (!optional) throw new Error(`${backward.name}: '${name}' stands for nothing in ${forward.name}`);
  }
  return { tensors, wanted };
}

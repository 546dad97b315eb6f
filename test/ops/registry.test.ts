/** No operation without contract, CPU and CUDA kernel, f64 reference, odd, empty and one-element cases, refused calls and an answer about its gradient. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { native, packageRoot } from '../../src/native.js';
import { elements } from './harness/data.js';
import { differentiable } from './harness/differentiable.js';
import { gradientDifferences, suitable } from './harness/gradient.js';
import { casesOf } from './harness/registry.js';
import type { OpCase } from './harness/types.js';

const contracts = native.listOps('cpu');
const onCuda = new Map(native.listOps('cuda-emulated').map(({ name, implemented }) => [name, implemented]));
const sizes = (one: OpCase): number[] => Object.values(one.tensors).map((spec) => elements(spec.shape));

it('lists operations', () => {
  expect(contracts.length).toBeGreaterThan(20);
  expect(new Set(contracts.map(({ name }) => name)).size).toBe(contracts.length);
});

describe.each(contracts)('$name', (contract) => {
  const cases = casesOf.get(contract.name);

  it('has a contract in prose', () => {
    const header = join(packageRoot, 'kernels', contract.folder, `${contract.folder}.h`);
    expect(existsSync(header), `${header} is missing`).toBe(true);
    const prose = readFileSync(header, 'utf8');
    expect(prose).toMatch(new RegExp(`(?<![A-Za-z0-9_])${contract.name}(?![A-Za-z0-9_])`));
    for (const { name } of contract.tensors) expect(prose, `the contract does not speak of '${name}'`).toContain(name);
  });

  it('has a CPU kernel', () => {
    expect(contract.implemented).toBe(true);
  });

  it('has a CUDA kernel', () => {
    expect(onCuda.get(contract.name)).toBe(true);
  });

  it('has a reference, and odd, empty and one-element cases', () => {
    expect(cases, `test/ops/cases/${contract.name}.ts is missing`).toBeDefined();
    expect(cases!.op).toBe(contract.name);
    const names = cases!.cases.map((one) => one.name);
    expect(new Set(names).size).toBe(names.length);
    const ofKind = (kind: string) => cases!.cases.filter((one) => one.kind === kind);
    for (const kind of cases!.scalar ? ['one'] : ['odd', 'empty', 'one'])
      expect(ofKind(kind), `a case of kind '${kind}'`).not.toEqual([]);
    for (const one of ofKind('odd'))
      expect(
        Object.values(one.tensors).some((spec) => spec.shape.some((size) => size > 4 && size % 2 === 1)),
        one.name,
      ).toBe(true);
    for (const one of ofKind('empty')) expect(Math.min(...sizes(one)), one.name).toBe(0);
    for (const one of ofKind('one')) expect(elements(one.tensors[contract.tensors[0]!.name]!.shape), one.name).toBe(1);
    if (cases!.scalar) for (const one of cases!.cases) expect(Math.max(...sizes(one)), one.name).toBe(1);
    expect(cases!.bad).not.toEqual([]);
  });

  it('says how its gradient is checked', () => {
    const gradient = cases!.gradient;
    if (gradient === 'not differentiable') return;
    if (gradient === 'through the tape') expect(differentiable.map(({ op }) => op)).toContain(contract.name);
    else if ('forwardOf' in gradient)
      expect(casesOf.get(gradient.forwardOf)!.gradient).toMatchObject({ backward: contract.name });
    else {
      const checked = suitable(cases!);
      expect(checked.length, 'cases small enough for central differences').toBeGreaterThan(0);
      for (const one of checked) {
        const backward = casesOf.get(gradient.backward);
        expect(backward, `test/ops/cases/${gradient.backward}.ts is missing`).toBeDefined();
        expect(gradientDifferences(cases!, backward!, gradient, one), one.name).toEqual([]);
      }
    }
  });
});

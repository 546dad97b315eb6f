import { expect, test } from 'vitest';
import { run, temporaryFolder } from './command.js';

const folder = temporaryFolder();

test('says what there is', () => {
  const { status, stdout } = run(['doctor'], folder());
  expect(stdout).toMatch(/^✓ Node +\d+\.\d+\.\d+$/m);
  expect(stdout).toMatch(/^✓ native addon +loads; (\d+) of \1 operations$/m);
  expect(stdout).toMatch(/^✓ CPU back ends +.*avx2$/m);
  expect(stdout).toMatch(/ models +none fetched yet \(compress-distill models fetch NAME\)$/m);
  expect(stdout).toMatch(/Everything needed is there\.$/m);
  expect(status).toBe(0);
});

test('names what is missing with its remedy, and exits 1', () => {
  const { status, stdout } = run(['doctor'], folder(), { PATH: '', CXX: undefined });
  expect(stdout).toMatch(/^✗ cmake +cmake 3\.20\.0 or newer is needed and none is on PATH: .*install.* cmake$/m);
  expect(stdout).toMatch(/^✗ C\+\+20 compiler .*install.* g\+\+$/m);
  expect(stdout).toMatch(/^3 to put right, see ✗\.$/m);
  expect(status).toBe(1);
});

test('lists the models that can be fetched, and refuses others', () => {
  expect(run(['models', 'list'], folder()).stdout).toMatch(
    /^smollm2-135m-instruct .* MB +Apache-2\.0 +compress-distill models fetch/m,
  );
  const { status, errors } = run(['models', 'fetch', 'smollm2-135m'], folder());
  expect(errors).toEqual([expect.stringContaining('smollm2-135m-instruct')]);
  expect(status).toBe(1);
});

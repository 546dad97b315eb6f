// What the machine must have before anything can be installed or built. Each check says what it found, or in one line
// what is missing and how to get it. Run on its own (`node scripts/setup/prerequisites.mjs`) it prints them as JSON.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs'; // a namespace, so that an old Node without statfsSync still gets to say that it is old
import { dirname, resolve } from 'node:path';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');
const minimum = { node: '20.17.0', cmake: '3.20.0', diskGiB: 1.5 };

/** Enough C++20 to tell a compiler that has it from one that only accepts the option. */
const probe =
  '#include <concepts>\n#include <span>\ntemplate <std::integral T> T twice(T x) { return 2 * x; }\nint main() { return twice(0); }\n';

/** What the program prints, or null where it cannot be run. */
function output(command, args, input) {
  const result = spawnSync(command, args, { encoding: 'utf8', input });
  return result.status === 0 ? result.stdout : null;
}

function olderThan(version, wanted) {
  const [a, b] = [version, wanted].map((text) => text.split('.').map(Number));
  for (let i = 0; i < b.length; ++i) if ((a[i] ?? 0) !== b[i]) return (a[i] ?? 0) < b[i];
  return false;
}

function aptGet(packages) {
  const installer = fs.existsSync('/etc/debian_version') ? 'apt-get install -y' : 'your package manager to install';
  return `${installer} ${packages}`;
}

function node() {
  const found = process.versions.node;
  if (!olderThan(found, minimum.node)) return { found };
  return {
    found,
    problem: `Node ${minimum.node} or newer is needed, this is ${found}: install it from https://nodejs.org`,
  };
}

function platform() {
  const found = `${process.platform} ${process.arch}`;
  if (process.platform === 'linux') return { found };
  return { found, problem: `Linux is needed, this is ${found}: use WSL 2 or a Linux container` };
}

function instructionSets() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return { found: null };
  const flags = new Set(/^flags\s*:(.*)$/m.exec(fs.readFileSync('/proc/cpuinfo', 'utf8'))?.[1].trim().split(' '));
  const found = ['avx2', 'fma', 'avx512f', 'avx512_bf16', 'amx_bf16'].filter((flag) => flags.has(flag)).join(' ');
  if (flags.has('avx2') && flags.has('fma')) return { found };
  return {
    found,
    problem: 'A CPU with AVX2 and FMA is needed (2013 or newer); in a virtual machine pass the host CPU through',
  };
}

function cmake() {
  const found = /cmake version ([\d.]+)/.exec(output('cmake', ['--version']) ?? '')?.[1];
  if (!found)
    return {
      found: null,
      problem: `cmake ${minimum.cmake} or newer is needed and none is on PATH: ${aptGet('cmake')}`,
    };
  if (!olderThan(found, minimum.cmake)) return { found };
  return { found, problem: `cmake ${minimum.cmake} or newer is needed, this is ${found}: pip install cmake` };
}

function compiler() {
  const candidates = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++'];
  for (const candidate of candidates) {
    const version = output(candidate, ['--version']);
    if (version === null) continue;
    const found = `${candidate}: ${version.split('\n')[0]}`;
    if (output(candidate, ['-std=c++20', '-fsyntax-only', '-x', 'c++', '-'], probe) !== null) return { found };
    return {
      found,
      problem: `A C++20 compiler is needed and '${candidate}' is too old: ${aptGet('g++')} (GCC 11 or newer), or set CXX`,
    };
  }
  const missing = process.env.CXX ? `CXX='${process.env.CXX}' cannot be run` : 'none is on PATH';
  return { found: null, problem: `A C++20 compiler is needed and ${missing}: ${aptGet('g++')}` };
}

function buildTool() {
  for (const tool of ['ninja', 'make']) {
    const version = output(tool, ['--version'])?.split('\n')[0];
    if (version !== undefined) return { found: `${tool} ${/[\d.]+/.exec(version)?.[0] ?? ''}` };
  }
  return { found: null, problem: `make or ninja is needed and neither is on PATH: ${aptGet('make')}` };
}

function disk() {
  const { bavail, bsize } = fs.statfsSync(root);
  const free = (bavail * bsize) / 2 ** 30;
  const found = `${free.toFixed(1)} GiB free`;
  if (free >= minimum.diskGiB) return { found };
  return {
    found,
    problem: `${minimum.diskGiB} GiB of free disk are needed in ${root}, there are ${free.toFixed(1)}: free some, or clone elsewhere`,
  };
}

const checks = {
  Node: node,
  platform,
  'instruction sets': instructionSets,
  cmake,
  'C++20 compiler': compiler,
  'build tool': buildTool,
  disk,
};

/** @returns {{ name: string, found: string | null, problem?: string }[]} every check, in order; `problem` is the remedy. */
export function checkPrerequisites(names = Object.keys(checks)) {
  return names.map((name) => ({ name, ...checks[name]() }));
}

if (argv[1] && resolve(argv[1]) === fileURLToPath(import.meta.url)) console.log(JSON.stringify(checkPrerequisites()));

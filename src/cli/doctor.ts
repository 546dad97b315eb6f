import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Command } from 'commander';
import pc from 'picocolors';
import { cachedModels } from './models.js';

const run = promisify(execFile);

/** The folder that holds package.json, whether this file runs from src/ or from dist/src/. Not from native.ts: that loads the addon. */
const root = (() => {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
})();

const nativeUrl = new URL('../native.js', import.meta.url).href;

interface Finding {
  name: string;
  found: string | null;
  /** One line with the remedy; the machine cannot do its work. */
  problem?: string;
  /** One line: works, but something better is to be had. */
  hint?: string;
}

export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .summary('what this machine has, and what it lacks')
    .description(
      'Checks the machine: tools, CPU, memory, disk, the native addon, CUDA, models. Each lack comes with its remedy.',
    )
    .addHelpText('after', '\nExample:\n  $ compress-distill doctor')
    .action(doctor);
}

async function doctor(): Promise<void> {
  const findings = [...(await prerequisites()), threads(), memory(), ...(await addon()), ...(await cuda()), models()];
  for (const { name, found, problem, hint } of findings) {
    const mark = problem ? pc.red('✗') : hint ? pc.yellow('!') : pc.green('✓');
    console.log(`${mark} ${name.padEnd(18)} ${[found, problem ?? hint].filter(Boolean).join(' — ')}`);
  }
  const problems = findings.filter(({ problem }) => problem).length;
  console.log(problems === 0 ? '\nEverything needed is there.' : `\n${problems} to put right, see ✗.`);
  if (problems > 0) process.exitCode = 1;
}

/** What the set-up checks too, from the one list of it. */
async function prerequisites(): Promise<Finding[]> {
  const { stdout } = await run(process.execPath, [join(root, 'scripts', 'setup', 'prerequisites.mjs')]);
  return JSON.parse(stdout) as Finding[];
}

function threads(): Finding {
  return { name: 'threads', found: `${availableParallelism()} (--threads uses fewer)` };
}

function memory(): Finding {
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  const available = process.availableMemory();
  const found = `${gib(available)} available of ${gib(totalmem())}`;
  if (available >= 4 * 2 ** 30) return { name: 'memory', found };
  return { name: 'memory', found, hint: 'the example study takes up to 4 GiB: close other programs first' };
}

/** Loaded in a process of its own, so that a crash there is a finding here. */
async function addon(): Promise<Finding[]> {
  const name = 'native addon';
  const rebuild = 'rebuild it: rm -rf build && npm run build';
  const script = `const { native } = await import(${JSON.stringify(nativeUrl)});
    console.log(JSON.stringify({ sets: native.listInstructionSets(), ops: native.listOps('cpu') }));`;
  try {
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script]);
    const { sets, ops } = JSON.parse(stdout) as { sets: string[]; ops: { name: string; implemented: boolean }[] };
    const missing = ops.filter(({ implemented }) => !implemented).map((op) => op.name);
    return [
      { name, found: `loads; ${ops.length - missing.length} of ${ops.length} operations` },
      sets.length > 0
        ? { name: 'CPU back ends', found: sets.join(', ') }
        : { name: 'CPU back ends', found: null, problem: `none of those built runs on this CPU: ${rebuild}` },
    ];
  } catch (error) {
    const { signal, stderr } = error as { signal?: string; stderr?: string };
    const reason = signal
      ? `loading it ends with ${signal}`
      : (/Error: (.*)/.exec(stderr ?? '')?.[1] ?? 'it does not load');
    return [{ name, found: null, problem: reason.includes('npm run build') ? reason : `${reason}: ${rebuild}` }];
  }
}

/**
 * Driver, plug-in, GPU and libraries; the CPU works without any of them, so what is missing is a problem of none. Where there
 * is a driver, it is a hint how to get the rest.
 */
async function cuda(): Promise<Finding[]> {
  if (!existsSync(join(root, 'build', 'Release', 'compress_distill_cuda.so'))) {
    const driver = existsSync('/proc/driver/nvidia/version');
    const remedy = 'put nvcc (CUDA 13) on PATH, then rm -rf build && npm run build';
    const found = `${driver ? 'driver' : 'no NVIDIA driver'}, no plug-in: work runs on the CPU`;
    return [driver ? { name: 'CUDA', found, hint: remedy } : { name: 'CUDA', found }];
  }
  // In a process of its own: a broken driver may end it.
  const script = `const { native } = await import(${JSON.stringify(nativeUrl)});
    const { Device } = await import(${JSON.stringify(new URL('../tensor/device.js', import.meta.url).href)});
    let gpu = null, problem = null;
    try {
      const device = Device.open('cuda:0');
      const { description, freeBytes, totalBytes } = device.statistics().accelerator;
      gpu = description + ', ' + [freeBytes, totalBytes].map((bytes) => (bytes / 2 ** 30).toFixed(1)).join(' of ') + ' GiB free';
    } catch (error) { problem = error.message; }
    console.log(JSON.stringify({ gpu, problem, libraries: native.cudaLibraries() }));
    process.exit(0);`;
  const answer = await run(process.execPath, ['--input-type=module', '-e', script]).then(
    ({ stdout }) => stdout,
    ({ signal, stderr }: { signal?: string; stderr?: string }) => {
      const reason = signal
        ? `asking for it ends with ${signal}`
        : (/Error: (.*)/.exec(stderr ?? '')?.[1] ?? 'no answer');
      return JSON.stringify({ gpu: null, problem: reason, libraries: [] });
    },
  );
  const { gpu, problem, libraries } = JSON.parse(answer) as {
    gpu: string | null;
    problem: string | null;
    libraries: { title: string; path: string; problem: string }[];
  };
  const driver = !problem?.includes('libcuda.so.1');
  const device: Finding = driver
    ? { name: 'CUDA', found: gpu, ...(problem !== null && { hint: problem }) }
    : { name: 'CUDA', found: 'plug-in, but no NVIDIA driver: work runs on the CPU' };
  return [
    device,
    ...libraries.map(({ title, path, problem: lack }): Finding => {
      if (path !== '') return { name: title, found: path };
      return driver ? { name: title, found: null, hint: lack } : { name: title, found: 'none, and no GPU to need it' };
    }),
  ];
}

function models(): Finding {
  const names = cachedModels();
  const found = names.length > 0 ? names.join(', ') : 'none fetched yet (compress-distill models fetch NAME)';
  return { name: 'models', found };
}

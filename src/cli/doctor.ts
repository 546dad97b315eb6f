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
  const findings = [...(await prerequisites()), threads(), memory(), ...(await addon()), await cuda(), models()];
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
  const url = new URL('../native.js', import.meta.url).href;
  const script = `const { native } = await import(${JSON.stringify(url)});
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

/** The driver is a machine's, the plug-in the build's; both are needed, and the CPU works without. */
async function cuda(): Promise<Finding> {
  const name = 'CUDA';
  const libraries = await run('ldconfig', ['-p']).then(
    ({ stdout }) => stdout,
    () => '',
  );
  const driver = existsSync('/proc/driver/nvidia/version') || libraries.includes('libcuda.so.1');
  const plugin = existsSync(join(root, 'build', 'Release', 'compress_distill_cuda.so'));
  if (driver && plugin) return { name, found: 'driver and plug-in' };
  if (!driver) return { name, found: 'no NVIDIA driver: work runs on the CPU' };
  return { name, found: 'driver', hint: 'no CUDA plug-in was built, so work runs on the CPU' };
}

function models(): Finding {
  const names = cachedModels();
  const found = names.length > 0 ? names.join(', ') : 'none fetched yet (compress-distill models fetch NAME)';
  return { name: 'models', found };
}

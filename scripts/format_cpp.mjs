// Formats C++ and CUDA sources with clang-format (as WebAssembly, pinned in package.json) and the style in .clang-format.
//
//   node scripts/format_cpp.mjs [--check]      --check changes nothing, names what differs and exits 1
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format } from '@wasm-fmt/clang-format';

process.chdir(resolve(dirname(fileURLToPath(import.meta.url)), '..'));

const check = process.argv.includes('--check');
const style = readFileSync('.clang-format', 'utf8');
const sources = ['native', 'kernels', 'kernel-check', 'test'].flatMap((folder) =>
  readdirSync(folder, { recursive: true })
    .filter((name) => /\.(cpp|h|cu|cuh)$/.test(name))
    .map((name) => join(folder, name)),
);

let different = 0;
for (const path of sources) {
  const source = readFileSync(path, 'utf8');
  // The formatter chooses the language by the name; CUDA is C++ to it.
  const formatted = format(source, path.replace(/\.cuh?$/, '.cpp'), style);
  if (formatted === source) continue;
  different += 1;
  if (check) console.error(`${path}: not formatted`);
  else writeFileSync(path, formatted);
}
console.log(check ? `Checked ${sources.length} C++ files.` : `Formatted ${different} of ${sources.length} C++ files.`);
if (check && different > 0) {
  console.error('error: run `npm run format` and commit what it changes');
  process.exit(1);
}

/**
 * Matrix products on a GPU: whether a row's bits depend on how many rows there are, and whether all of K is summed.
 *
 *   node dist/benchmarks/gpu/rows.js [device]
 */
import { native } from '../../src/native.js';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { seededUniform } from './random_model.js';

const name = process.argv[2] ?? 'cuda:0';
const device = Device.open(name);
const emulated = name === 'cuda-emulated';
const rowCounts = emulated ? [1, 2, 3, 17, 129] : [1, 2, 3, 8, 17, 64, 129, 1000, 16384];
// [N, K]: those of an 8B Llama, and one that is a multiple of nothing.
const shapes = emulated ? [[72, 40], [33, 50]] : [[4096, 4096], [6144, 4096], [28672, 4096], [4096, 14336], [1001, 333]]; // biome-ignore format: a list
const compared = 16; // rows, or fewer where there are not so many

const missing = emulated ? undefined : native.cudaLibraries().find(({ title, path }) => title === 'cuBLASLt' && !path);
if (missing && process.env.COMPRESS_DISTILL_MATMUL !== 'plain') {
  console.log(`SKIPPED: ${missing.problem}`);
  process.exit(0);
}

let failed = 0;
for (const dtype of ['bf16', 'f32'] as const)
  for (const [N, K] of shapes as [number, number][]) {
    const dependent = await rowsThatDepend(N, K, dtype);
    const short = await sumsOfOnes(N, K, dtype);
    const verdict = dependent.length + short.length === 0 ? 'ok' : 'FAILED';
    console.log(`${dtype} N=${N} K=${K}: ${verdict} ${[...dependent, ...short].join('; ')}`.trimEnd());
    if (verdict !== 'ok') failed += 1;
  }
console.log(`${shapes.length * 2} shapes with ${rowCounts.join(', ')} rows on ${device.statistics().accelerator?.description ?? name}, ${failed} failed`); // biome-ignore format: one line
await device.close();
process.exitCode = failed > 0 ? 1 : 0;

/** Numbers of rows with which the first rows' bits are others than with the fewest. */
async function rowsThatDepend(N: number, K: number, dtype: 'bf16' | 'f32'): Promise<string[]> {
  using a = random([rowCounts.at(-1)!, K], dtype, 1);
  using b = random([N, K], dtype, 2);
  const reference: Buffer[] = [];
  const found: string[] = [];
  for (const M of rowCounts) {
    using rows = a.narrow(0, 0, M);
    using c = Tensor.empty(device, [M, N], dtype);
    launch('matmul', [rows, b, c], [0, 1, 0, 1]);
    using first = c.narrow(0, 0, Math.min(M, compared));
    const bytes = Buffer.from(await first.readBytes());
    const size = bytes.length / Math.min(M, compared);
    for (let row = 0; row * size < bytes.length; row += 1) {
      const bits = bytes.subarray(row * size, (row + 1) * size);
      reference[row] ??= bits;
      if (!reference[row]!.equals(bits)) {
        found.push(`row ${row} of ${M} has other bits`);
        break;
      }
    }
  }
  return found;
}

/** Products of ones that do not come to K: what a dropped tail would give. */
async function sumsOfOnes(N: number, K: number, dtype: 'bf16' | 'f32'): Promise<string[]> {
  const found: string[] = [];
  for (const M of rowCounts.filter((count) => count <= 1000)) {
    using a = Tensor.full(device, [M, K], 1, dtype);
    using b = Tensor.full(device, [N, K], 1, dtype);
    using c = Tensor.empty(device, [M, N], 'f32');
    launch('matmul', [a, b, c], [0, 1, 0, 1]);
    const wrong = (await c.readFloats()).find((value) => value !== K);
    if (wrong !== undefined) found.push(`ones of ${M} rows come to ${wrong}`);
  }
  return found;
}

function random(shape: [number, number], dtype: 'bf16' | 'f32', seed: number): Tensor {
  const next = seededUniform(seed);
  return Tensor.from(
    device,
    Float32Array.from({ length: shape[0] * shape[1] }, () => 2 * next() - 1),
    shape,
    dtype,
  );
}

/** What a device with memory and a stream of its own does differently, on the emulated one; and CUDA where there is none. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { measureRates } from '../../src/bench/rates.js';
import { packageRoot } from '../../src/native.js';
import { Device } from '../../src/tensor/device.js';
import { launch } from '../../src/tensor/launch.js';
import { scope } from '../../src/tensor/scope.js';
import { Tensor } from '../../src/tensor/tensor.js';

describe('cuda-emulated', () => {
  let device: Device;
  beforeEach(() => {
    device = Device.open('cuda-emulated', { threads: 1 });
  });
  afterEach(async () => {
    expect(device.statistics().liveTensors).toBe(0);
    await device.close();
  });

  it('keeps the order of writes and reads over many fences', async () => {
    using x = Tensor.empty(device, [3], 'i32');
    const reads = Array.from({ length: 2000 }, (_, step) => {
      x.write(Int32Array.of(step, step + 1, step + 2));
      return x.read();
    });
    for (const [step, data] of (await Promise.all(reads)).entries())
      expect([...data]).toEqual([step, step + 1, step + 2]);
  });

  it('settles a fence behind more commands than it launches ahead', async () => {
    using x = Tensor.empty(device, [1]);
    for (let step = 0; step < 5000; step += 1) x.write(Float32Array.of(step));
    await device.synchronize();
    expect([...(await x.read())]).toEqual([4999]);
  });

  it('fills memory that nobody wrote with NaN', async () => {
    using x = Tensor.empty(device, [4]);
    expect([...(await x.read())]).toEqual([NaN, NaN, NaN, NaN]);
  });

  it('says what it is', () => {
    const { instructionSet, accelerator } = device.statistics();
    expect(instructionSet).toBe('cuda-emulated');
    expect(accelerator?.description).toContain('emulated');
  });
});

describe('a GPU in trouble', () => {
  type Fault = 'GPUS' | 'DRIVER' | 'CAPABILITY' | 'MEMORY' | 'LOST_AT';
  const openWith = (faults: { readonly [fault in Fault]?: number }, name = 'cuda-emulated'): Device => {
    const variables = Object.entries(faults).map(([fault, value]) => [`COMPRESS_DISTILL_EMULATION_${fault}`, value]);
    for (const [variable, value] of variables) process.env[variable!] = String(value);
    try {
      return Device.open(name, { threads: 1 });
    } finally {
      for (const [variable] of variables) delete process.env[variable!];
    }
  };

  it.each([
    [
      { GPUS: 2 },
      'cuda-emulated:7',
      "Device 'cuda:7' is not available: there are 2 GPUs, cuda:0 to cuda:1; choose one of them",
    ],
    [{}, 'cuda-emulated:1', "Device 'cuda:1' is not available: there is 1 GPU, cuda:0; choose one of them"],
    [
      { GPUS: 0 },
      'cuda-emulated',
      "Device 'cuda:0' is not available: the NVIDIA driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES",
    ],
    [
      { DRIVER: 12040 },
      'cuda-emulated',
      "Device 'cuda:0' is not available: the NVIDIA driver supports CUDA 12.4 and 13.0 is needed; update the driver",
    ],
    [
      { CAPABILITY: 80 },
      'cuda-emulated',
      "Device 'cuda:0' is not available: the GPU has compute capability 8.0 and the plug-in was built for emulation; rebuild with COMPRESS_DISTILL_CUDA_ARCHITECTURES=80-real npm run build",
    ],
  ] as const)('says in one line that with %j %s cannot be had', (faults, name, line) => {
    expect(() => openWith(faults, name)).toThrow(`${line}, or use --device cpu`);
  });

  it('says in one line that it has no memory to start with', async () => {
    const device = openWith({ MEMORY: 1000 });
    await expect(device.synchronize()).rejects.toThrow(
      /^Device memory: not even \d+ bytes are free; close other programs first$/,
    );
    await device.close();
  });

  it('fails an operation that finds no memory to work in, and goes on', async () => {
    const device = openWith({ MEMORY: 200_000 });
    const ids = Tensor.full(device, [3000], 0, 'i32');
    const gradient = Tensor.full(device, [3000, 1], 1);
    const table = Tensor.zeros(device, [1, 1]);
    const taken = Tensor.empty(device, [30_000]);
    launch('embedding_backward', [ids, gradient, table]);
    await expect(table.read()).rejects.toThrow(
      /Device memory: no room for 1 MiB that the operation needs while it runs; use a smaller cache of keys and values, shorter/,
    );
    expect((await gradient.readFloats()).every((value) => value === 1)).toBe(true);
    for (const tensor of [ids, gradient, table, taken]) tensor.dispose();
    await device.close();
  });

  it('says what is live when its memory is full, gives cached blocks back first, and goes on', async () => {
    const device = openWith({ MEMORY: 10 << 20 });
    const x = Tensor.empty(device, [1 << 20]);
    expect(() => Tensor.empty(device, [2 << 20])).toThrow(
      /Expected room for 8 MiB but 6 MiB of 10 MiB are free \(1 tensors of 4 MiB are in use\); use shorter/,
    );
    x.dispose();
    using y = Tensor.full(device, [2 << 20], 3, 'f32');
    expect((await y.readFloats()).every((value) => value === 3)).toBe(true);
    y.dispose();
    await device.close();
  });

  it('fails everything with the one reason after an illegal access, and still closes', async () => {
    const device = openWith({ LOST_AT: 2 });
    const x = Tensor.full(device, [4], 1);
    expect([...(await x.read())]).toEqual([1, 1, 1, 1]);
    const lost = /^Device 'cuda:0' is lost: an illegal memory access was encountered; start again to resume; [^\n]*$/;
    launch('scale', [x, x], [2]);
    await expect(x.read()).rejects.toThrow(lost);
    expect(() => Tensor.empty(device, [1 << 20])).toThrow(lost);
    x.dispose();
    await device.close();
  });

  it('poisons what depends on a failed kernel, in the order of the commands, and nothing else', async () => {
    const device = openWith({});
    const outcomes: Promise<string>[] = [];
    const settle = (tensor: Tensor): Promise<string> => tensor.read().then(String, (error: Error) => error.message);
    scope(() => {
      const table = Tensor.zeros(device, [4, 2]);
      for (let step = 0; step < 300; step += 1) {
        const ids = Tensor.from(device, Int32Array.of(1, step % 3 === 1 ? 40 + step : 2));
        const rows = Tensor.full(device, [2, 2], 7);
        const doubled = rows.like();
        outcomes.push(settle(rows));
        launch('embedding', [table, ids, rows]);
        launch('scale', [rows, doubled], [2]);
        outcomes.push(settle(doubled));
      }
    });
    for (const [index, outcome] of (await Promise.all(outcomes)).entries()) {
      const step = index >> 1;
      if (index % 2 === 0) expect(outcome).toBe('7,7,7,7');
      else if (step % 3 !== 1) expect(outcome).toBe('0,0,0,0');
      else expect(outcome).toContain(`Expected 'ids' to be in [-2, 4) but received ${40 + step} at index 1`);
    }
    await device.close();
  });

  it('times operations where it was asked to, and measures rates', async () => {
    const device = Device.open('cuda-emulated', { threads: 1, profile: true });
    using x = Tensor.full(device, [1000], 1);
    await device.synchronize();
    const [{ op, calls, seconds }] = device.profile() as [{ op: string; calls: number; seconds: number }];
    expect({ op, calls }).toEqual({ op: 'fill', calls: 1 });
    expect(seconds).toBeGreaterThan(0);
    const { flops, copy, read } = await measureRates(device);
    for (const rate of [flops.f32, flops.bf16, copy, read]) expect(rate).toBeGreaterThan(0);
    x.dispose();
    await device.close();
  });
});

describe('a device that is not there', () => {
  it.each(['cuda:', 'cuda:x', 'cuda:1000', 'gpu', 'cpu:1', 'cuda-emulated:'])('refuses %s', (name) => {
    expect(() => Device.open(name)).toThrow(`Expected device 'cpu' or 'cuda:N' but received '${name}'`);
  });

  // Enough of a driver for the CUDA runtime to ask it for its version and its devices.
  const driver = `
    #include <stdlib.h>
    #include <string.h>
    static int number(const char* name) { const char* text = getenv(name); return text ? atoi(text) : 0; }
    int cuInit(unsigned flags) { (void)flags; return number("FAKE_INIT"); }
    int cuDriverGetVersion(int* version) { *version = number("FAKE_VERSION"); return 0; }
    static int missing(void) { return 801; }
    int cuGetProcAddress_v2(const char* name, void** function, int version, unsigned long flags, void* status) {
      (void)version; (void)flags; (void)status;
      *function = !strcmp(name, "cuInit") ? (void*)cuInit
                : !strcmp(name, "cuDriverGetVersion") ? (void*)cuDriverGetVersion
                : !strcmp(name, "cuGetProcAddress") ? (void*)cuGetProcAddress_v2 : (void*)missing;
      return 0;
    }`;
  const plugin = existsSync(join(packageRoot, 'build/Release/compress_distill_cuda.so'));
  const script = `import { Device } from ${JSON.stringify(join(packageRoot, 'dist/src/tensor/device.js'))};
    try { Device.open('cuda:0'); } catch (error) { console.log(error.message); }`;
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'fake-driver-'));
    writeFileSync(join(folder, 'driver.c'), driver);
    const compiler = process.env.CC ?? 'cc';
    execFileSync(compiler, ['-shared', '-fPIC', '-w', '-o', join(folder, 'libcuda.so.1'), join(folder, 'driver.c')]);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const open = async (environment: Record<string, string>): Promise<string> => {
    const env = { ...process.env, LD_LIBRARY_PATH: folder, ...environment };
    const run = promisify(execFile);
    return (await run(process.execPath, ['--input-type=module', '-e', script], { env })).stdout;
  };

  it.each([
    [
      'an old driver',
      { FAKE_VERSION: '12040' },
      /the NVIDIA driver supports CUDA 12\.4 and 13\.\d is needed; update the driver/,
    ],
    ['no GPU', { FAKE_VERSION: '13000', FAKE_INIT: '100' }, /the NVIDIA driver sees no GPU; check nvidia-smi/],
    [
      'a broken driver',
      { FAKE_VERSION: '13000', FAKE_INIT: '803' },
      /CUDA does not start: .*; check nvidia-smi and dmesg/,
    ],
  ])('says in one line what is wrong with %s', async (_, environment, reason) => {
    const line = await open(environment);
    expect(line).toMatch(/^Device 'cuda(:0)?' is not available: [^\n]*, or use --device cpu\n$/);
    expect(line).toMatch(plugin ? reason : /its plug-in could not be loaded .*with nvcc on PATH run `npm run build`/);
  });
});

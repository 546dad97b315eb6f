/** What a device with memory and a stream of its own does differently, on the emulated one; and CUDA where there is none. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/native.js';
import { Device } from '../../src/tensor/device.js';
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

describe('a device that is not there', () => {
  it.each(['cuda:', 'cuda:x', 'cuda:1000', 'gpu', 'cuda-emulated:1'])('refuses %s', (name) => {
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

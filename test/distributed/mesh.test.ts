import { afterEach, describe, expect, it } from 'vitest';
import { Mesh } from '../../src/distributed/mesh.js';
import type { MeshShape } from '../../src/distributed/mesh_shape.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

let groups = 0;
const devices: Device[] = [];
afterEach(async () => {
  await Promise.all(devices.splice(0).map((device) => device.close()));
});

function open(shape: MeshShape, name = 'cpu'): Mesh[] {
  const group = `mesh-${process.pid}-${groups++}`;
  return Array.from({ length: shape.dp * shape.tp }, (_, rank) => {
    devices.push(Device.open(name, { threads: 1 }));
    return new Mesh(devices.at(-1)!, { group, rank, shape });
  });
}

/** The world ranks that a rank meets in a group. */
async function members(mesh: Mesh, group: 'world' | 'dp' | 'tp'): Promise<number[] | null> {
  const communicator = mesh[group];
  if (communicator === null) return null;
  using own = Tensor.from(mesh.device, Int32Array.of(mesh.rank));
  using all = communicator.allGather(own);
  return [...(await all.read())];
}

describe.each(['cpu', 'cuda-emulated'])('a mesh on %s', (name) => {
  it('has groups along and across the models', async () => {
    const ranks = open({ dp: 2, tp: 2 }, name);
    expect(await Promise.all(ranks.map((mesh) => members(mesh, 'world')))).toEqual(ranks.map(() => [0, 1, 2, 3]));
    expect(await Promise.all(ranks.map((mesh) => members(mesh, 'tp')))).toEqual([
      [0, 1],
      [0, 1],
      [2, 3],
      [2, 3],
    ]);
    expect(await Promise.all(ranks.map((mesh) => members(mesh, 'dp')))).toEqual([
      [0, 2],
      [1, 3],
      [0, 2],
      [1, 3],
    ]);
    expect(ranks.map(({ tpRank, dpRank }) => [dpRank, tpRank])).toEqual([
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ]);
  });
});

describe('a mesh', () => {
  it('joins when all of its ranks have come', async () => {
    const [last, ...others] = open({ dp: 2, tp: 2 }, 'cuda-emulated');
    let joined = 0;
    const all = others.map(async (mesh) => {
      await mesh.join();
      joined += 1;
    });
    for (let round = 0; round < 20; round += 1) await last!.device.synchronize();
    expect(joined).toBe(0);
    await Promise.all([...all, last!.join()]);
    for (const { device } of [last!, ...others]) expect(device.statistics().liveTensors).toBe(0);
  });

  it('has one group where one dimension is 1, and none for one rank', async () => {
    for (const shape of [
      { dp: 2, tp: 1 },
      { dp: 1, tp: 2 },
    ]) {
      const [first, second] = open(shape) as [Mesh, Mesh];
      const [used, unused] = shape.tp === 1 ? (['dp', 'tp'] as const) : (['tp', 'dp'] as const);
      for (const mesh of [first, second]) {
        expect(mesh[unused]).toBeNull();
        expect(mesh[used]).toBe(mesh.world);
      }
      expect(await Promise.all([members(first, used), members(second, used)])).toEqual([
        [0, 1],
        [0, 1],
      ]);
    }
    const [alone] = open({ dp: 1, tp: 1 }) as [Mesh];
    expect([alone.world, alone.dp, alone.tp]).toEqual([null, null, null]);
  });

  it('is left by disposing it', async () => {
    const [first, second] = open({ dp: 1, tp: 2 }) as [Mesh, Mesh];
    second.dispose();
    using x = Tensor.from(first.device, [1]);
    first.tp!.allReduce(x);
    await expect(x.read()).rejects.toThrow(/rank 1 of 2 has left/);
  });

  it('counts what a rank receives from others', async () => {
    const ranks = open({ dp: 2, tp: 2 });
    for (const { device, world, dp } of ranks) {
      using x = Tensor.zeros(device, [12]);
      world!.allReduce(x);
      using all = dp!.allGather(x);
      dp!.reduceScatter(all).dispose();
      dp!.broadcast(x, 1);
    }
    await Promise.all(ranks.map(({ device }) => device.synchronize()));
    // Two of three parts of three others; the other's 12 elements; half of the other's 24; rank 1 sends.
    for (const { world } of ranks) expect(world!.bytesReceived).toBe(4 * (3 * 3 + 9));
    for (const { dp, dpRank } of ranks) expect(dp!.bytesReceived).toBe(4 * (12 + 12 + (dpRank === 0 ? 12 : 0)));
  });

  it('refuses a rank that it does not have', () => {
    const device = Device.open('cpu', { threads: 1 });
    devices.push(device);
    expect(() => new Mesh(device, { group: 'none', rank: 4, shape: { dp: 2, tp: 2 } })).toThrow(
      'Expected a rank of dp=2,tp=2, 0 to 3, but received 4',
    );
  });
});

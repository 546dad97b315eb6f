/** Collectives run beside compute: what they wait for, and what waits for them. The ranks are devices of one thread. */
import { afterEach, describe, expect, it } from 'vitest';
import { Communicator } from '../../src/distributed/communicator.js';
import { add, scale } from '../../src/ops/elementwise.js';
import { embedding } from '../../src/ops/embedding.js';
import { Device } from '../../src/tensor/device.js';
import { Tensor } from '../../src/tensor/tensor.js';

let groups = 0;
const devices: Device[] = [];
afterEach(async () => {
  const all = devices.splice(0);
  const leaks = all.map((device) => device.statistics().liveTensors);
  await Promise.all(all.map((device) => device.close()));
  expect(leaks).toEqual(all.map(() => 0));
});

function ranks(name: string, size: number): Communicator[] {
  const group = `overlap-${process.pid}-${groups++}`;
  return Array.from({ length: size }, (_, rank) => {
    const device = Device.open(name, { threads: 2 });
    devices.push(device);
    return new Communicator(device, group, rank, size);
  });
}

describe.each(['cpu', 'cpu-chaos', 'cuda-emulated'])('a rank that others wait for, on %s', (name) => {
  it('holds up what depends on it, and nothing else', async () => {
    const [early, late] = ranks(name, 2) as [Communicator, Communicator];
    using x = Tensor.from(early.device, [1, 2, 3]);
    using unrelated = Tensor.from(early.device, [5, 7]);
    early.allReduce(x);
    using other = Tensor.from(early.device, [1, 1, 1]);
    using gathered = early.allGather(other);
    for (let round = 0; round < 20; round += 1) {
      using changed = scale(unrelated, round);
      expect([...(await changed.readFloats())]).toEqual([5 * round, 7 * round]);
    }
    using twice = scale(x, 2);
    let summed = false;
    const sum = twice.readFloats().finally(() => {
      summed = true;
    });
    // Another device's stream goes on, and what waits goes on waiting.
    using elsewhere = Tensor.from(late.device, [1]);
    for (let round = 0; round < 20; round += 1) await elsewhere.read();
    expect(summed).toBe(false);

    using y = Tensor.from(late.device, [10, 20, 30]);
    using mine = Tensor.from(late.device, [2, 2, 2]);
    late.allReduce(y);
    using theirs = late.allGather(mine);
    expect([...(await sum)]).toEqual([22, 44, 66]);
    expect([...(await x.readFloats())]).toEqual([11, 22, 33]);
    expect([...(await y.readFloats())]).toEqual([11, 22, 33]);
    for (const all of [gathered, theirs]) expect([...(await all.readFloats())]).toEqual([1, 1, 1, 2, 2, 2]);
  });

  it('leaves memory that is given back meanwhile as it was', async () => {
    const [early, late] = ranks(name, 2) as [Communicator, Communicator];
    const length = 5000;
    const x = Tensor.full(early.device, [length], 1);
    const scattered = early.reduceScatter(x);
    early.allReduce(x);
    const { reservedBytes } = early.device.statistics();
    x.dispose();
    scattered.dispose();
    // The next owners of the same blocks.
    using next = Tensor.full(early.device, [length], 100);
    using part = Tensor.full(early.device, [length / 2], 200);
    expect(early.device.statistics().reservedBytes).toBe(reservedBytes);
    using y = Tensor.full(late.device, [length], 2);
    using half = late.reduceScatter(y);
    late.allReduce(y);
    expect(new Set(await y.readFloats())).toEqual(new Set([3]));
    expect(new Set(await half.readFloats())).toEqual(new Set([3]));
    expect(new Set(await next.readFloats())).toEqual(new Set([100]));
    expect(new Set(await part.readFloats())).toEqual(new Set([200]));
  });

  it('is met in the order of the calls, again and again', async () => {
    const all = ranks(name, 4);
    const results = all.map((communicator) => {
      const { device, rank } = communicator;
      using x = Tensor.full(device, [7], rank);
      for (let round = 0; round < 10; round += 1) {
        communicator.allReduce(x); // 6, 24, 96, …
        using rest = add(x, x);
        using first = rest.narrow(0, 0, 2);
        using parts = communicator.allGather(first);
        using sums = communicator.reduceScatter(parts);
        communicator.broadcast(sums, round % 4);
      }
      return scale(x, 1);
    });
    for (const result of results) expect(new Set(await result.readFloats())).toEqual(new Set([6 * 4 ** 9]));
    for (const result of results) result.dispose();
  });

  it('fails what waits for it when it fails itself, and says why', async () => {
    const [broken, whole] = ranks(name, 2) as [Communicator, Communicator];
    const collect = ({ device }: Communicator, token: number) => {
      using table = Tensor.zeros(device, [3, 4]);
      using tokens = Tensor.from(device, Int32Array.of(token));
      return embedding(table, tokens);
    };
    using bad = collect(broken, 99);
    using good = collect(whole, 1);
    using unrelated = Tensor.from(whole.device, [4]);
    broken.allReduce(bad);
    whole.allReduce(good);
    using twice = scale(good, 2);
    await expect(bad.read()).rejects.toThrow(/embedding.*99/);
    for (const tensor of [good, twice]) await expect(tensor.read()).rejects.toThrow(/rank 0 of 2 has left/);
    expect([...(await unrelated.readFloats())]).toEqual([4]);
  });

  it('is met by every replay of a recording, between other collectives', async () => {
    const all = ranks(name, 2);
    const recorded = all.map((communicator) => {
      const { device, rank } = communicator;
      const x = Tensor.full(device, [5], 0);
      const recording = device.record({ x }, () => {
        const twice = scale(x, 2);
        communicator.allReduce(twice);
        const part = twice.narrow(0, 0, 2);
        return communicator.allGather(add(part, x.narrow(0, 0, 2)));
      });
      return { communicator, rank, x, recording };
    });
    const results: Promise<Float32Array>[] = [];
    for (let round = 0; round < 8; round += 1)
      for (const { communicator, rank, recording } of recorded) {
        recording.replay({ x: [round, round + rank, 0, 0, 7] });
        using sum = scale(recording.outputs, 1);
        communicator.allReduce(sum);
        results.push(recording.outputs.readFloats(), sum.readFloats());
      }
    for (const [index, values] of (await Promise.all(results)).entries()) {
      const round = index >> 2;
      const gathered = [5 * round, 5 * round + 2, 5 * round, 5 * round + 3];
      expect([...values]).toEqual(index % 2 === 0 ? gathered : gathered.map((value) => 2 * value));
    }
    for (const { communicator, x, recording } of recorded) {
      if (name === 'cuda-emulated') expect(communicator.device.statistics().graphReplays).toBe(7);
      for (const tensor of [x, recording.outputs]) tensor.dispose();
      recording.dispose();
    }
  });

  it('fails the others of a replay when its data is wrong, and says why', async () => {
    const recorded = ranks(name, 2).map((communicator) => {
      const { device } = communicator;
      const table = Tensor.zeros(device, [3, 4]);
      const ids = Tensor.from(device, Int32Array.of(0));
      const recording = device.record({ ids }, () => {
        const rows = embedding(table, ids);
        communicator.allReduce(rows);
        return scale(rows, 2);
      });
      return { table, ids, recording };
    });
    for (const last of [1, 1, 99]) {
      const reads = recorded.map(({ recording }, rank) => {
        recording.replay({ ids: Int32Array.of(rank === 0 ? last : 1) });
        return recording.outputs.readFloats();
      });
      const [first, second] = await Promise.allSettled(reads);
      if (last === 1)
        for (const read of [first!, second!]) expect(read).toEqual({ status: 'fulfilled', value: new Float32Array(4) });
      else {
        expect(String((first as PromiseRejectedResult).reason)).toMatch(/embedding.*99/);
        expect(String((second as PromiseRejectedResult).reason)).toMatch(/rank 0 of 2 has left/);
      }
    }
    for (const { table, ids, recording } of recorded) {
      for (const tensor of [table, ids, recording.outputs]) tensor.dispose();
      recording.dispose();
    }
  });

  it('fails a replay to which another rank does not come any more', async () => {
    const [here, gone] = ranks(name, 2) as [Communicator, Communicator];
    const record = (communicator: Communicator) => {
      const x = Tensor.full(communicator.device, [3], 1);
      const recording = communicator.device.record({ x }, () => {
        const sum = scale(x, 1);
        communicator.allReduce(sum);
        return sum;
      });
      return { x, recording };
    };
    const all = [here, gone].map(record);
    for (let round = 0; round < 3; round += 1) for (const { recording } of all) recording.replay();
    expect([...(await all[0]!.recording.outputs.readFloats())]).toEqual([2, 2, 2]);
    all[0]!.recording.replay();
    const read = all[0]!.recording.outputs.readFloats();
    gone.leave();
    await expect(read).rejects.toThrow(/rank 1 of 2 has left/);
    for (const { x, recording } of all) {
      for (const tensor of [x, recording.outputs]) tensor.dispose();
      recording.dispose();
    }
  });
});

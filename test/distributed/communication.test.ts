/** What a step's exchanges are said to be, against the tensors that ranks really hand to their groups. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  type CollectiveName,
  type Exchange,
  estimateStep,
  sentBytes,
  slowestLink,
} from '../../src/distributed/communication.js';
import { Communicator } from '../../src/distributed/communicator.js';
import type { Tensor } from '../../src/tensor/tensor.js';
import { parseTrainConfig } from '../../src/training/config.js';
import { FullySharded, Shards } from '../../src/training/fully_sharded.js';
import { GradientReduction } from '../../src/training/gradient_exchange.js';
import { stepExchanges } from '../../src/training/step_exchange.js';
import { type GoldenModel, modelFolder } from '../support/fixtures.js';
import { allLinears, openStudent, randomDocuments, runSteps } from '../training/student.js';
import { withRanks } from './ranks.js';

afterEach(() => vi.restoreAllMocks());

const bytesOf = ({ size, dtype }: Tensor): number => size * (dtype === 'bf16' ? 2 : 4);

type Bytes = Record<string, number>;
type Settings = Parameters<typeof stepExchanges>[1];

/** Of each of the first rank's groups and collectives, scalars left out. */
async function exchanged(name: GoldenModel, settings: Settings, passes: number, tokens: number): Promise<Bytes> {
  const { mesh, method, dtype, fullyShard, activationCheckpointing } = settings;
  const { dp, tp } = mesh;
  const groups = new Map<Communicator, string>();
  const bytes: Bytes = {};
  const received: [number, number][] = [];
  const count = (group: Communicator, collective: CollectiveName, whole: number): void => {
    const label = groups.get(group);
    if (label !== undefined && whole > 16)
      bytes[`${label} ${collective}`] = (bytes[`${label} ${collective}`] ?? 0) + whole;
  };
  const { allReduce, allGather, reduceScatter } = Communicator.prototype;
  vi.spyOn(Communicator.prototype, 'allReduce').mockImplementation(function (this: Communicator, x: Tensor) {
    count(this, 'all-reduce', bytesOf(x));
    allReduce.call(this, x);
  });
  vi.spyOn(Communicator.prototype, 'allGather').mockImplementation(function (
    this: Communicator,
    x: Tensor,
    out?: Tensor,
  ) {
    count(this, 'all-gather', this.size * bytesOf(x));
    return allGather.call(this, x, out);
  });
  vi.spyOn(Communicator.prototype, 'reduceScatter').mockImplementation(function (
    this: Communicator,
    x: Tensor,
    out?: Tensor,
  ) {
    count(this, 'reduce-scatter', bytesOf(x));
    return reduceScatter.call(this, x, out);
  });
  // Documents of one length: all micro-batches have the same tokens.
  const documents = randomDocuments(400, 90)
    .filter(({ tokens: { length } }) => length === tokens)
    .slice(0, passes * dp);
  expect(documents).toHaveLength(passes * dp);
  await withRanks(dp * tp, (ranks) =>
    Promise.all(
      ranks.map(async ({ device, rank }) => {
        const group = `communication-${process.pid}-${name}-${JSON.stringify(settings)}`;
        const join = (kind: string, place: number, size: number) =>
          size > 1 ? new Communicator(device, `${group}-${kind}`, place, size) : null;
        const together = join(`tp${Math.floor(rank / tp)}`, rank % tp, tp);
        const replicas = join(`dp${rank % tp}`, Math.floor(rank / tp), dp);
        const shards = replicas && fullyShard ? new Shards(replicas) : null;
        const student = await openStudent(device, name, method, { dtype, group: together, shards });
        const { model, parameters } = student;
        const exchange = shards
          ? new FullySharded(model, shards)
          : replicas && new GradientReduction(model, parameters, replicas);
        await device.synchronize();
        const before = replicas?.bytesReceived ?? 0;
        if (rank === 0) {
          if (together) groups.set(together, 'tp');
          if (replicas) groups.set(replicas, 'dp');
        }
        const shape = { gradientAccumulation: passes * dp, sequenceLength: tokens, epochs: 1 };
        await runSteps(student, documents, shape, { activationCheckpointing, exchange });
        groups.clear();
        await device.synchronize();
        received[rank] = [before, replicas?.bytesReceived ?? 0];
        shards?.dispose();
        model.dispose();
      }),
    ),
  );
  const [[before, after] = [0, 0]] = received;
  bytes.received = after - before;
  return bytes;
}

function predicted(exchanges: readonly Exchange[]): Bytes {
  const bytes: Bytes = {};
  for (const { group, collective, bytes: more } of exchanges)
    if (more > 0) bytes[`${group} ${collective}`] = (bytes[`${group} ${collective}`] ?? 0) + more;
  return bytes;
}

describe('stepExchanges', () => {
  it.each([
    ['tied', { dp: 2, tp: 1 }, 'full', 'f32', false, 'none'],
    ['linear', { dp: 4, tp: 1 }, 'lora', 'f32', false, 'layer'],
    ['linear', { dp: 2, tp: 1 }, 'full', 'bf16', true, 'layer'],
    ['tied', { dp: 4, tp: 1 }, 'full', 'f32', true, 'none'],
    ['tied', { dp: 2, tp: 1 }, 'lora', 'f32', true, 'selective'],
    ['tied', { dp: 1, tp: 2 }, 'full', 'f32', false, 'none'],
    ['linear', { dp: 1, tp: 2 }, 'full', 'bf16', false, 'layer'],
    ['linear', { dp: 1, tp: 2 }, 'lora', 'bf16', false, 'none'],
    ['bias', { dp: 1, tp: 4 }, 'lora', 'f32', false, 'selective'],
    ['tied', { dp: 1, tp: 4 }, 'lora', 'f32', false, 'layer'],
    ['tied', { dp: 2, tp: 2 }, 'full', 'f32', false, 'layer'],
    ['tied', { dp: 2, tp: 2 }, 'full', 'bf16', true, 'none'],
    ['linear', { dp: 2, tp: 2 }, 'lora', 'f32', true, 'layer'],
  ] as const)('are what %s on %o exchanges: %s in %s, fully sharded %s, checkpointing %s', async (...row) => {
    const [name, mesh, method, dtype, fullyShard, activationCheckpointing] = row;
    const source = JSON.parse(readFileSync(join(modelFolder(name), 'config.json'), 'utf8'));
    const settings = parseTrainConfig({
      ...{ model: 'm', data: 'd', output: 'o', optimizer: 'adamw', lora: { rank: 4, targetModules: allLinears } },
      ...{ mesh, method, dtype, fullyShard, activationCheckpointing },
    });
    const work = { passes: 2, tokens: 12 };
    const exchanges = stepExchanges(source, settings, work);
    const { received, ...bytes } = await exchanged(name, settings, work.passes, work.tokens);
    expect(bytes).toEqual(predicted(exchanges));
    expect(Object.keys(bytes).length).toBeGreaterThan(0);
    // What comes in is what a ring's ranks send, and a few scalars.
    const ring = exchanges.reduce(
      (sum, { group, collective, bytes: whole }) => sum + (group === 'dp' ? sentBytes(collective, mesh.dp, whole) : 0),
      0,
    );
    expect(received! - ring).toBeGreaterThanOrEqual(0);
    expect(received! - ring).toBeLessThanOrEqual(16);
  });
});

describe('estimateStep', () => {
  const links = { nvlink: 100, network: 10 };
  const compute = { passes: 4, forward: 1, backward: 2 };
  const gradients = { what: 'gradients', collective: 'all-reduce', group: 'dp', bytes: 160, uncovered: 16 } as const;
  const exchange: Exchange = { ...gradients, beside: { work: 'backward', passes: 1 } };

  it('waits for what no work goes on beside', () => {
    // Ring of 8: 2 · 7/8 · 160 = 280 bytes, 2.8 s at 100 bytes/s; 2 s of them beside the last backward pass.
    const mesh = { dp: 8, tp: 1 };
    expect(estimateStep([exchange], compute, mesh, links, 8)).toEqual({
      sent: { dp: 280, tp: 0 },
      exchanging: { dp: 2.8, tp: 0 },
      compute: 12,
      waiting: expect.closeTo(0.8),
      seconds: expect.closeTo(12.8),
    });
    // Beside all four there is time enough, but for what comes after the last.
    const always: Exchange = { ...exchange, beside: { work: 'backward', passes: 4 } };
    expect(estimateStep([always], compute, mesh, links, 8).waiting).toBeCloseTo(0.28);
    const never: Exchange = { ...exchange, beside: null };
    expect(estimateStep([never], compute, mesh, links, 8).waiting).toBeCloseTo(2.8);
  });

  it('goes by the slowest link that a group crosses', () => {
    expect(slowestLink('dp', { dp: 4, tp: 2 }, 8)).toBe('nvlink');
    expect(slowestLink('dp', { dp: 8, tp: 2 }, 8)).toBe('network');
    expect(slowestLink('tp', { dp: 8, tp: 2 }, 8)).toBe('nvlink');
    expect(() => slowestLink('tp', { dp: 1, tp: 16 }, 8)).toThrow(
      /'tp' to divide the 8 GPUs of a node but received 16/,
    );
    expect(estimateStep([exchange], compute, { dp: 16, tp: 1 }, links, 8).exchanging.dp).toBeCloseTo(30);
  });
});

import { describe, expect, it } from 'vitest';
import { readProcessEnvironment } from '../../src/distributed/process_environment.js';
import { expectedRound } from './operands.js';
import { freePort, runProcesses, startProcess } from './processes.js';

describe('the variables of a launcher', () => {
  it('name the processes of a run; without them there is one', () => {
    expect(readProcessEnvironment({})).toBeNull();
    expect(readProcessEnvironment({ WORLD_SIZE: '1', RANK: '0' })).toBeNull();
    expect(readProcessEnvironment({ WORLD_SIZE: '4', RANK: '2', MASTER_ADDR: 'node1' })).toEqual({
      ...{ rank: 2, size: 4, localRank: 0, address: 'node1', port: 29_500, timeoutSeconds: 300 },
    });
  });

  it.each([
    [{ WORLD_SIZE: 'two' }, /WORLD_SIZE to be an integer from 1 to 100000 but received 'two'/],
    [{ WORLD_SIZE: '2' }, /RANK to be an integer from 0 to 1 but received ''/],
    [{ WORLD_SIZE: '2', RANK: '2' }, /RANK to be an integer from 0 to 1 but received '2'/],
    [{ WORLD_SIZE: '2', RANK: '0', MASTER_PORT: '0' }, /MASTER_PORT/],
  ])('are refused where they cannot be: %o', (environment, message) => {
    expect(() => readProcessEnvironment(environment)).toThrow(message);
  });
});

const errors = (said: unknown[][]): unknown[] => said.map((lines) => (lines.at(-1) as { error?: string }).error);

describe('processes that meet', () => {
  it('exchange values in their order', async () => {
    const said = await runProcesses(3, () => ({ ranks: 1 }));
    const values = [0, 1, 2].map((from) => ({ from, minus: null })); // as JSON shows it
    for (const lines of said) expect(lines).toEqual(['joined', values]);
  });

  it.each<[string, (rank: number) => { work?: object; environment?: Record<string, number> }, RegExp]>([
    [
      'wrong WORLD_SIZE',
      (rank) => ({ environment: rank === 1 ? { WORLD_SIZE: 3 } : {} }),
      /^Expected the same WORLD_SIZE on every process but process 0 has 2 and process 1 \(rank 1\) at .*1 has 3; start/,
    ],
    [
      'other settings',
      (rank) => ({ work: { facts: { settings: `${rank}` } } }),
      /^Expected the same settings on every process but process 0 has 0 and process 1 .* has 1; start all from the same files$/,
    ],
    [
      'another instruction set',
      (rank) => ({ work: { facts: { 'instruction set': ['avx512', 'avx2'][rank]! } } }),
      /^Expected the same instruction set on every process but process 0 has avx512 and process 1 .* has avx2; set COMPRESS_DISTILL_ISA to one that all machines have/,
    ],
  ])('%s: the same line on each', async (_, of, message) => {
    const found = errors(
      await runProcesses(
        2,
        (rank) => ({ ranks: 1, ...of(rank).work }),
        (rank) => of(rank).environment ?? {},
      ),
    );
    expect(found[0]).toMatch(message);
    expect(found[1]).toBe(found[0]);
  });

  it('a RANK that two have: the same line on each', async () => {
    const found = errors(
      await runProcesses(
        3,
        () => ({ ranks: 1 }),
        (rank) => (rank === 2 ? { RANK: 1 } : {}),
      ),
    );
    expect(found[0]).toMatch(
      /^Expected a RANK of its own for every process but both the one at .* and one at .* have RANK=1; give/,
    );
    expect(new Set(found).size).toBe(1);
  });

  it('a process that does not come, and one that finds nobody: who, where, and what to see to', async () => {
    const port = await freePort();
    const alone = { WORLD_SIZE: 3, MASTER_PORT: port, RENDEZVOUS_SECONDS: 2 };
    // Long enough for the second process to start on a busy machine.
    const host = startProcess({ ranks: 1 }, { ...alone, RANK: 0, RENDEZVOUS_SECONDS: 10 });
    const other = startProcess({ ranks: 1 }, { ...alone, RANK: 1, RENDEZVOUS_SECONDS: 60 });
    const line = /^1 of 3 processes have not come within 10 s: RANK 2; see that they run and reach 127\.0\.0\.1/;
    expect(errors([await host.ended, await other.ended])).toEqual([
      expect.stringMatching(line),
      expect.stringMatching(line),
    ]);
    const nobody = startProcess({ ranks: 1 }, { ...alone, RANK: 2 });
    expect(errors([await nobody.ended])[0]).toMatch(
      /^Process 0 was not to be reached at 127\.0\.0\.1:\d+ within 2 s \(ECONNREFUSED\); see that it runs/,
    );
  });
});

describe('a process that ends', () => {
  it.each([0, 1])('is named by the others within the time of a heartbeat: process %i killed', async (victim) => {
    const port = await freePort();
    const all = [0, 1, 2].map((rank) =>
      startProcess({ ranks: 2, after: 'wait' }, { RANK: rank, WORLD_SIZE: 3, MASTER_PORT: port }),
    );
    await Promise.all(all.map(({ said }) => said(1)));
    all[victim]!.child.kill('SIGKILL');
    const others = await Promise.all(all.filter((_, rank) => rank !== victim).map(({ ended }) => ended));
    const named = victim === 0 ? 'process 0 \\(ranks 0 and 1\\)' : 'process 1 \\(ranks 2 and 3\\)';
    for (const error of errors(others)) expect(error).toMatch(new RegExp(`^${named} at .* has ended$`));
  });

  it('is named where it has only stopped answering', async () => {
    const port = await freePort();
    const work = { ranks: 1, after: 'wait', silenceSeconds: 3 } as const;
    const all = [0, 1].map((rank) => startProcess(work, { RANK: rank, WORLD_SIZE: 2, MASTER_PORT: port }));
    await Promise.all(all.map(({ said }) => said(1)));
    all[1]!.child.kill('SIGSTOP');
    expect(errors([await all[0]!.ended])[0]).toMatch(/^process 1 \(rank 1\) at .* has not been heard of for 3 s$/);
    all[1]!.child.kill('SIGCONT');
    expect(errors([await all[1]!.ended])[0]).toMatch(/^process/);
  });
});

describe('collectives across processes', () => {
  it.each([
    [2, 2],
    [4, 1],
  ])('in %i processes of %i ranks give the bits of one', async (processes, ranks) => {
    const [length, rounds] = [20_001, 2];
    const said = await runProcesses(processes, () => ({ ranks, scenario: { device: 'cpu', length, rounds } }));
    const reports = said.flatMap((lines) => lines.at(-1) as { rank: number; results: number[][]; live: number }[]);
    expect(reports.map(({ rank, live }) => [rank, live])).toEqual([0, 1, 2, 3].map((rank) => [rank, 0]));
    for (const { rank, results } of reports) {
      const expected = [0, 1].flatMap((round) => expectedRound(rank, 4, round, length, false));
      expect(JSON.stringify(results) === JSON.stringify(expected), `rank ${rank}`).toBe(true); // 200,000 numbers
    }
  });

  it('fail everywhere when a process is killed in the middle, which is named', async () => {
    const port = await freePort();
    const scenario = { device: 'cpu', length: 1000, rounds: 1_000_000 };
    const all = [0, 1].map((rank) =>
      startProcess(
        { ranks: 2, scenario: { ...scenario, ...(rank === 1 && { dieAfter: 5 }) } },
        { RANK: rank, WORLD_SIZE: 2, MASTER_PORT: port },
      ),
    );
    const [lines] = [await all[0]!.ended];
    expect(lines!.at(-1)).toEqual({ error: expect.stringMatching(/^process 1 \(ranks 2 and 3\) at .* has ended$/) });
    const reports = lines!.at(-2) as { error: string }[];
    for (const { error } of reports)
      expect(error).toMatch(/(rank [23] has gone without a word|process 1 .* has ended).*; the others cannot go on$/);
  });
});

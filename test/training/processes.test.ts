// Training in several processes, started by the command as a user does.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { modelFolder } from '../support/fixtures.js';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'processes-'));
  const rows = Array.from({ length: 24 }, (_, index) => ({
    id: `q${index}`,
    messages: [
      { role: 'user', content: `What is ${index} plus ${index}?` },
      { role: 'assistant', content: `${'so '.repeat(index % 5)}${2 * index}` },
    ],
  }));
  writeFileSync(join(folder, 'data.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
});
afterAll(() => rmSync(folder, { recursive: true }));

function settings(output: string, more = ''): string {
  const path = join(folder, `${output}.yaml`);
  writeFileSync(
    path,
    `model: ${modelFolder('chat')}
data: ${join(folder, 'data.jsonl')}
output: ${join(folder, output)}
tokenisedFolder: ${join(folder, `tokenised-${output}`)}
sequenceLength: 150
epochs: 8
validationSplit: 0
gradientAccumulation: 4
learningRate: 0.01
checkpointEvery: 2
threads: 2
mesh: { dp: 4 }
lora: { rank: 4, dropout: 0.2 }
${more}`,
  );
  return path;
}

interface Ended {
  code: number | null;
  errors: string[];
}

async function ended(child: ChildProcess): Promise<Ended> {
  let text = '';
  child.stderr!.setEncoding('utf8').on('data', (part: string) => {
    text += part;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, errors: text.split('\n').filter((line) => line.startsWith('error:')) };
}

function command(
  args: string[],
  environment: Record<string, string> = {},
  cwd = folder,
  node: string[] = [],
): ChildProcess {
  return spawn(process.execPath, [...node, resolve('dist/src/cli/main.js'), ...args], {
    cwd,
    env: { ...process.env, NO_COLOR: '1', ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

const weights = (output: string): Buffer => readFileSync(join(folder, output, 'adapter_model.safetensors'));
const losses = (output: string): number[] =>
  readFileSync(join(folder, output, 'metrics.jsonl'), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { loss: number }).loss);

it('trains in two processes of two ranks with the bits of four ranks in one, and goes on after one was killed', async () => {
  expect(await ended(command(['train', settings('one')]))).toEqual({ code: 0, errors: [] });
  const two = await ended(command(['launch', '--processes', '2', '--', 'train', settings('two')]));
  expect(two).toEqual({ code: 0, errors: [] });
  expect(losses('two')).toEqual(losses('one'));
  expect(weights('two').equals(weights('one'))).toBe(true);

  const victim = settings('killed');
  const killed = command(['launch', '--processes', '2', '--', 'train', victim]);
  const done = ended(killed);
  const checkpoints = join(folder, 'killed', 'checkpoints');
  const seen = (): string[] => {
    try {
      return readdirSync(checkpoints).filter((name) => /^step-\d+$/.test(name));
    } catch {
      return [];
    }
  };
  while (seen().length === 0 && killed.exitCode === null) await new Promise((next) => setTimeout(next, 5));
  killRank1(killed.pid!);
  const { code, errors } = await done;
  expect(code).toBe(1);
  expect(errors).toEqual([expect.stringMatching(/^error: process 1 \(ranks 2 and 3\) at .* has ended$/)]);
  expect(seen().length).toBeGreaterThan(0);
  expect(await ended(command(['launch', '--processes', '2', '--', 'train', victim]))).toEqual({ code: 0, errors: [] });
  expect(weights('killed').equals(weights('one'))).toBe(true);
});

/** The process that `launch` started as RANK=1. */
function killRank1(parent: number): void {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim().split(/\s+/);
  const isRank1 = (pid: string): boolean => readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes('RANK=1');
  process.kill(Number(children.find(isRank1)), 'SIGKILL');
}

it('ends when a rank is gone before it has met the others', async () => {
  const deadly = join(folder, 'deadly.mjs');
  const dies = "import { workerData } from 'node:worker_threads'; if (workerData?.rank === 1) process.exit(9);";
  writeFileSync(deadly, dies);
  const child = command(['train', settings('gone')], {}, folder, ['--import', deadly]);
  expect(await ended(child)).toEqual({
    code: 1,
    errors: ['error: Rank 1 ended early with code 9; the same command goes on from the last checkpoint'],
  });
});

it('says on every process what is not alike', async () => {
  const port = String(20_000 + (process.pid % 20_000));
  const common = { WORLD_SIZE: '2', MASTER_PORT: port };
  const both = await Promise.all([
    ended(command(['train', settings('alike')], { ...common, RANK: '0' })),
    ended(command(['train', settings('unlike', 'seed: 3')], { ...common, RANK: '1' })),
  ]);
  for (const { code, errors } of both) {
    expect(code).toBe(1);
    expect(errors).toEqual([
      expect.stringMatching(/^error: Expected the same settings, model and data in every process but/),
    ]);
  }
});

/** A folder with the model `m`, whose file has 8 MiB more that nobody needs, `value` among them. */
function machine(name: string, value: number): string {
  const place = join(folder, name);
  cpSync(modelFolder('chat'), join(place, 'm'), { recursive: true });
  const path = join(place, 'm', 'model.safetensors');
  const stored = readFileSync(path);
  const length = Number(stored.readBigUInt64LE());
  const data = stored.subarray(8 + length);
  const more = Buffer.alloc(8 << 20, 1);
  more[5_000_001] = value; // where a fingerprint does not look
  const header = JSON.parse(stored.toString('utf8', 8, 8 + length));
  const offsets = [data.length, data.length + more.length];
  header['model.rotary_emb.inv_freq'] = { dtype: 'F32', shape: [more.length / 4], data_offsets: offsets };
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(padded.length));
  writeFileSync(path, Buffer.concat([size, padded, data, more]));
  return place;
}

it.each([false, true])(
  'says on every process that weights differ in a single byte, fully sharded: %s',
  async (fullyShard) => {
    const file = join(folder, 'bytes.yaml');
    const paths = {
      data: join(folder, 'data.jsonl'),
      output: join(folder, 'bytes'),
      tokenisedFolder: join(folder, 'bytes'),
    };
    const shape = { sequenceLength: 150, mesh: { dp: 2 }, fullyShard };
    writeFileSync(file, JSON.stringify({ model: 'm', ...paths, ...shape }));
    const common = { WORLD_SIZE: '2', MASTER_PORT: String(20_001 + ((process.pid + Number(fullyShard)) % 20_000)) };
    const both = await Promise.all(
      [1, 2].map((value, rank) =>
        ended(
          command(['train', file], { ...common, RANK: String(rank) }, machine(`machine-${fullyShard}-${rank}`, value)),
        ),
      ),
    );
    for (const { code, errors } of both) {
      expect(code).toBe(1);
      expect(errors).toEqual([
        "error: Expected the same weights in every process but those of process 1 are not those of process 0; copy the model's files to all machines again",
      ]);
    }
  },
);

// What goes wrong around a study: threads that die, disks that are full or may not be written to. One line, nothing half-written,
// and the same command goes on.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it } from 'vitest';
import { stringify } from 'yaml';
import type { StageName } from '../../src/pipeline/context.js';
import { run, temporaryFolder } from '../cli/command.js';
import { modelFolder } from '../support/fixtures.js';
import { tinyStudy } from './tiny_study.js';

const folder = temporaryFolder();

/** Rows, targets and weights; what holds times is left out. */
function contents(name: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const path of readdirSync(join(folder(), name), { recursive: true }) as string[]) {
    if (!/\.jsonl$|\.safetensors$|\.parquet$/.test(path) || path.includes('metrics')) continue;
    files[path] = readFileSync(join(folder(), name, path)).toString('base64');
  }
  return files;
}

/** What must not be there after a run has failed. */
const leftovers = (name: string) =>
  (readdirSync(join(folder(), name), { recursive: true }) as string[]).filter((path) =>
    /\.tmp|(^|\/)lock$|live\.json$/.test(path),
  );

it('a rank that dies while it trains ends the run in one line; rows and checkpoints stay, and the run goes on', () => {
  const objective = join(folder(), 'mine.mjs');
  // The second rank dies in its fourth micro-batch, once there is a checkpoint, as long as there is no file that spares it.
  writeFileSync(
    objective,
    `import { existsSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
let batches = 0;
export default ({ tokenLogprobs, window }, { scale, sum }) => {
  if (!isMainThread && ++batches === 4 && !existsSync(${JSON.stringify(join(folder(), 'spared'))})) process.exit(7);
  return scale(sum(tokenLogprobs()), -1 / window.trained);
};`,
  );
  const study = (name: string) => {
    const { students, ...rest } = tinyStudy(folder(), name);
    const training = { ...students[0]!.training, objective, mesh: { dp: 2 }, checkpointEvery: 1 };
    const settings = { ...rest, students: [{ ...students[0], arms: ['raw', 'answer-only'], training }] };
    writeFileSync(join(folder(), `${name}.yaml`), stringify(settings));
    return ['run', `${name}.yaml`];
  };
  const died = run(study('killed'), folder());
  expect(died.status, died.stderr).toBe(1);
  expect(died.errors).toEqual([
    'error: Rank 1 ended early with code 7; the same command goes on from the last checkpoint',
  ]);
  expect(leftovers('killed')).toEqual([]);
  expect(readdirSync(join(folder(), 'killed/students/adapted/raw/weights/checkpoints'))).not.toEqual([]);
  const rows = contents('killed');
  expect(Object.keys(rows)).toEqual(expect.arrayContaining(['traces.jsonl', 'compressed/short.jsonl']));
  const manifest = JSON.parse(readFileSync(join(folder(), 'killed/manifest.json'), 'utf8'));
  expect(manifest.stages['train adapted raw']).toMatchObject({ state: 'running' });

  writeFileSync(join(folder(), 'spared'), '');
  const resumed = run(study('killed'), folder());
  expect(resumed.status, resumed.stderr).toBe(0);
  const undisturbed = run(study('undisturbed'), folder());
  expect(undisturbed.status, undisturbed.stderr).toBe(0);
  expect(contents('killed')).toEqual(contents('undisturbed'));
  expect(contents('killed')['traces.jsonl']).toBe(rows['traces.jsonl']);
});

it("the engine's thread that dies is replaced: the rows are those of an undisturbed run", () => {
  // A module that every thread loads first: the one that tokenises long prompts ends the first time that it starts.
  const preload = join(folder(), 'preload.mjs');
  const marker = join(folder(), 'died');
  writeFileSync(
    preload,
    `import { existsSync, writeFileSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
if (!isMainThread && process.argv[1].includes('tokenizer_worker') && !existsSync(${JSON.stringify(marker)})) {
  writeFileSync(${JSON.stringify(marker)}, '');
  process.exit(9);
}`,
  );
  // The tiny model, told that its context holds long prompts.
  const model = join(folder(), 'model');
  cpSync(modelFolder('chat'), model, { recursive: true });
  const config = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8'));
  writeFileSync(join(model, 'config.json'), JSON.stringify({ ...config, max_position_embeddings: 8192 }));
  const study = (name: string) => {
    const settings = tinyStudy(folder(), name);
    const long = 'Consider this with all the care that you have. '.repeat(120);
    const teacher = { ...settings.teacher, model, prompt: `${long}{{question}}`, attempts: 1 };
    writeFileSync(join(folder(), `${name}.yaml`), stringify({ ...settings, teacher }));
    return ['traces', `${name}.yaml`];
  };
  const options = { NODE_OPTIONS: `--import=${preload}` };
  const disturbed = run(study('disturbed'), folder(), options);
  expect(existsSync(marker)).toBe(true);
  const undisturbed = run(study('undisturbed'), folder());
  expect([disturbed.status, disturbed.errors]).toEqual([0, []]);
  expect(undisturbed.status).toBe(0);
  const [one, other] = ['disturbed', 'undisturbed'].map((name) =>
    readFileSync(join(folder(), name, 'traces.jsonl'), 'utf8'),
  );
  expect(one).toBe(other);
  expect(one).toMatch(/"ok":true/);
});

/** Runs the stand-in study in a process of its own; what it prints at the end. */
function standIn(
  name: string,
  { limit, drop, stages }: { limit?: number; drop?: boolean; stages?: StageName[] } = {},
): string {
  const script = `
    const { runStudy } = await import(${JSON.stringify(resolve('dist/src/pipeline/run.js'))});
    const { planStudy, lookingContext } = await import(${JSON.stringify(resolve('dist/src/pipeline/plan.js'))});
    const { FakeServices, fakeStudy } = await import(${JSON.stringify(resolve('dist/test/pipeline/fake_services.js'))});
    const config = fakeStudy(${JSON.stringify(folder())}, ${JSON.stringify(name)});
    if (${drop === true} && process.getuid() === 0) { process.setgid(65534); process.setuid(65534); }
    const plan = await planStudy(await lookingContext(config, new FakeServices()));
    try {
      await runStudy(config, { services: new FakeServices(), ...${JSON.stringify({ stages })} });
      console.log('done');
    } catch (error) {
      console.log(plan.stages.length + ' ' + error.constructor.name + ': ' + error.message);
    }`;
  const limited = limit === undefined ? 'exec "$0" "$@"' : `ulimit -f ${limit}; exec "$0" "$@"`;
  const args = ['-c', limited, process.execPath, '--input-type=module', '-e', script];
  const { stdout, stderr } = spawnSync('bash', args, { encoding: 'utf8' });
  expect(stderr).toBe('');
  return stdout.trim();
}

it('a folder that may not be written to is said in one line, its rows can be planned with, and nothing changes', () => {
  chmodSync(folder(), 0o755);
  expect(standIn('read-only')).toBe('done');
  const before = contents('read-only');
  chmodSync(join(folder(), 'read-only'), 0o555);
  const said =
    /^\d+ UserError: Expected to be able to write .*lock but this user may not write there; change its permissions or choose another folder, and start the same command again: what is finished is kept$/;
  expect(standIn('read-only', { drop: true })).toMatch(said);
  expect(contents('read-only')).toEqual(before);
  expect(leftovers('read-only')).toEqual([]);

  const closed = join(folder(), 'closed');
  mkdirSync(closed, { mode: 0o555 });
  expect(standIn('closed/new', { drop: true })).toMatch(
    /^\d+ UserError: Expected to be able to write .*closed\/new but/,
  );
  expect(readdirSync(closed)).toEqual([]);
  chmodSync(join(folder(), 'read-only'), 0o755);
  expect(standIn('read-only')).toBe('done');
});

// The stages that were done before, the kilobytes that a file may have then, and the file that does not get that far.
it.each<[string, StageName[], number, string]>([
  ['traces', [], 8, 'traces.jsonl'],
  ['compress', ['traces'], 8, 'compressed/short.jsonl'],
  ['train', ['traces', 'compress', 'truncate', 'answer-only'], 5, 'students/small/raw/data.jsonl'],
  ['evaluate', ['traces', 'compress', 'truncate', 'answer-only', 'train'], 8, 'evaluations/small/untrained.jsonl'],
  ['report', ['traces', 'compress', 'truncate', 'answer-only', 'train', 'evaluate'], 12, 'report.html'],
])(
  'a disk that takes no more in stage %s is said in one line, and the same command goes on',
  (_, before, limit, file) => {
    expect(standIn('undisturbed')).toBe('done');
    if (before.length > 0) expect(standIn('limited', { stages: before })).toBe('done');
    const said = `write ${join(folder(), 'limited', file)} but the file may not grow; raise the limit on the size of files`;
    expect(standIn('limited', { limit })).toContain(`UserError: Expected to be able to ${said}`);
    expect(leftovers('limited')).toEqual([]);
    const path = join(folder(), 'limited', file);
    if (existsSync(path)) for (const line of readFileSync(path, 'utf8').trimEnd().split('\n')) JSON.parse(line);
    expect(standIn('limited')).toBe('done');
    expect(contents('limited')).toEqual(contents('undisturbed'));
  },
);

/** A GPU that is lost in the middle of a run of the command: finished rows are kept, and the run goes on when it is started again. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readRows, run, temporaryFolder, writeRows } from '../cli/command.js';
import { modelFolder } from '../support/fixtures.js';

const folder = temporaryFolder();

test('an illegal access ends the run with status 1 and one line; a second start completes the rows', () => {
  const rows = Array.from({ length: 12 }, (_, id) => ({ id, tokens: [28, 30 + id, 27] }));
  writeRows(join(folder(), 'in.jsonl'), rows);
  const generate = (out: string, environment: NodeJS.ProcessEnv = {}) => {
    const sizes = ['--max-num-seqs', '2', '--max-tokens', '6', '--temperature', '0', '--ignore-eos', '--threads', '1'];
    const args = ['generate', '--model', modelFolder('tied'), '--prompts', 'in.jsonl', '--out', out, ...sizes];
    return run([...args, '--device', 'cuda-emulated'], folder(), environment);
  };
  const output = (out: string) =>
    readRows<{ id: number; tokens: number[]; finishReason: string }>(join(folder(), out))
      .filter(({ finishReason }) => finishReason !== 'error')
      .sort((a, b) => a.id - b.id)
      .map(({ id, tokens }) => ({ id, tokens }));
  expect(generate('whole.jsonl').status).toBe(0);
  const whole = output('whole.jsonl');
  expect(whole.length).toBe(rows.length);

  const lost = generate('out.jsonl', { COMPRESS_DISTILL_EMULATION_LOST_AT: '300' });
  expect(lost.status).toBe(1);
  expect(lost.errors).toHaveLength(1);
  expect(lost.errors[0]).toContain(
    "Device 'cuda:0' is lost: an illegal memory access was encountered; start again to resume",
  );
  const [partial] = readdirSync(folder()).filter((name) => /^out\.jsonl\..*\.partial$/.test(name));
  const kept = output(partial!);
  expect(kept.length).toBeGreaterThan(0);
  expect(kept.length).toBeLessThan(rows.length);
  expect(whole).toEqual(expect.arrayContaining(kept));

  expect(generate('out.jsonl').status).toBe(0);
  expect(output('out.jsonl')).toEqual(whole);
});

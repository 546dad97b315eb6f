import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MetricsLog, readMetrics, type StepMetrics } from '../../src/training/metrics.js';

const row = (step: number, loss = 1 / 3): StepMetrics => ({
  step,
  loss,
  learningRate: 1e-4,
  gradNorm: 0.5,
  tokens: 100,
  trainedTokens: 60,
  tokensPerSecond: 1000,
});

describe('MetricsLog', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'metrics-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('keeps rows exactly', async () => {
    const file = join(folder, 'a.jsonl');
    const log = await MetricsLog.open(file, 0);
    await log.append(row(1));
    await log.append(row(2));
    expect(await readMetrics(file)).toEqual([row(1), row(2)]);
    expect(Object.keys(JSON.parse((await readFile(file, 'utf8')).split('\n')[0]!))).toEqual(
      expect.arrayContaining(['step', 'loss', 'learningRate', 'gradNorm', 'tokens', 'tokensPerSecond']),
    );
  });

  it('continues after the step of a checkpoint, without doubles and without half a row', async () => {
    const file = join(folder, 'b.jsonl');
    const log = await MetricsLog.open(file, 0);
    for (const step of [1, 2, 3]) await log.append(row(step));
    await appendFile(file, '{"step":4,"lo');
    const resumed = await MetricsLog.open(file, 2);
    await resumed.append(row(3, 9));
    expect(await readMetrics(file)).toEqual([row(1), row(2), row(3, 9)]);
  });

  it('starts anew at step 0 and reads an absent file as empty', async () => {
    const file = join(folder, 'c.jsonl');
    await (await MetricsLog.open(file, 0)).append(row(1));
    await MetricsLog.open(file, 0);
    expect(await readMetrics(file)).toEqual([]);
    expect(await readMetrics(join(folder, 'absent.jsonl'))).toEqual([]);
  });
});

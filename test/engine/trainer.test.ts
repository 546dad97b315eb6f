import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { scoreDocuments } from '../../src/engine/score_documents.js';
import { Device } from '../../src/tensor/device.js';
import { disposeGradients } from '../../src/training/optimizer.js';
import { openStudent, randomDocuments, runSteps, type Student } from '../training/student.js';
import { bits, createEngine, mixedRequests, run } from './tiny_model.js';

describe.each(['full', 'lora'] as const)('engine and trainer on one model (%s)', (method) => {
  let device: Device;
  let student: Student;
  beforeAll(async () => {
    device = Device.open('cpu', { threads: 2 });
    student = await openStudent(device, 'linear', method);
  });
  afterEach(() => disposeGradients(student.parameters));
  afterAll(async () => {
    student.model.dispose();
    student.files.weights.close();
    await device.close();
  });

  const requests = () => mixedRequests(24, student.model.config.vocabSize);
  /** One optimizer step per 4 documents or so. */
  const train = (documents = 4) =>
    runSteps(student, randomDocuments(documents, 60), { epochs: 1, gradientAccumulation: 1, learningRate: 0.02 });
  const runAnew = () => run(student, requests(), { enablePrefixCaching: false });

  it('gives the same log-probabilities to the bit, before a step and after it', async () => {
    const documents = requests().map(({ prompt }) => prompt as number[]);
    const engine = createEngine(student, { blockSize: 4 });
    const scored: string[] = [];
    for (let round = 0; round < 2; round++) {
      const byTrainer = await scoreDocuments(student.model, documents);
      const byEngine = await engine.generateAll(documents, { promptLogprobs: true, maxTokens: 1 });
      expect(byEngine.map(({ promptLogprobs }) => promptLogprobs)).toEqual(byTrainer);
      scored.push(JSON.stringify(byTrainer));
      if (round === 0) expect((await train()).losses.length).toBeGreaterThan(0);
    }
    expect(scored[1]).not.toBe(scored[0]);
    await engine.close();
  });

  it('samples from the new weights after a step, and nothing from the cache of the old', async () => {
    const engine = createEngine(student, { blockSize: 4 });
    const before = await engine.generateAll(requests());
    expect(bits(await engine.generateAll(requests()))).toBe(bits(before));
    expect(engine.statistics().prefixHitTokens).toBeGreaterThan(0);
    await train();
    const after = await engine.generateAll(requests());
    expect(bits(after)).not.toBe(bits(before));
    expect(bits(after)).toBe(bits((await runAnew()).completions));
    engine.checkIntegrity();
    await engine.close();
  });

  it('goes on generating while steps are made', async () => {
    const engine = createEngine(student, { blockSize: 4, maxNumSeqs: 4 });
    const version = student.model.weightVersion;
    const [during] = await Promise.all([engine.generateAll([...requests(), ...requests()]), train(80)]);
    expect(student.model.weightVersion).toBeGreaterThan(version + 5);
    expect(during.filter(({ finishReason }) => finishReason === 'error')).toEqual([]);
    const afterwards = await engine.generateAll(requests());
    expect(bits(afterwards)).toBe(bits((await runAnew()).completions));
    engine.checkIntegrity();
    await engine.close();
  });
});

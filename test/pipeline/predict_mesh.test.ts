import { expect, it } from 'vitest';
import { onMesh } from '../../src/cli/plan_mesh.js';
import { parseStudyConfig } from '../../src/pipeline/config.js';
import { predictMesh } from '../../src/pipeline/predict_mesh.js';
import { modelFolder } from '../support/fixtures.js';

const study = {
  run: 'r',
  questions: {
    train: { generate: 'arithmetic', levels: [1], count: 8 },
    eval: { generate: 'arithmetic', levels: [1], count: 8 },
  },
  teacher: { model: 't' },
  compressors: [{ name: 'short', model: 't', prompt: '{{reasoning}}' }],
  students: [
    {
      name: 'small',
      model: modelFolder('chat'),
      method: 'full',
      arms: ['raw'],
      training: {
        gradientAccumulation: 64,
        sequenceLength: 64,
        optimizer: 'adamw',
        fullyShard: true,
        mesh: { dp: 64 },
      },
    },
  ],
};
const certain = (seconds: number) => ({ expected: seconds, low: seconds, high: seconds });
const stages = [
  { label: 'traces', arm: null, tokens: certain(1), seconds: certain(800), left: 800, through: null },
  { label: 'train small raw', arm: 'raw', tokens: certain(1), seconds: certain(640), left: 640, through: 4_096_000 },
];

it('divides generation over replicas, and training as its steps go', async () => {
  const fast = { nvlink: 1e15, network: 1e15 };
  const predicted = async (mesh: { dp: number; tp: number }, links = fast) =>
    predictMesh(stages, parseStudyConfig(onMesh(study, mesh, {}), 'study'), links, 8);
  const eight = await predicted({ dp: 8, tp: 1 });
  expect(eight.generation).toBe(100);
  expect(eight.training).toBeCloseTo(80, 3);
  expect(eight.efficiency).toBeCloseTo(1, 3);
  // Gathering weights through a slow network takes most of the time.
  const slow = await predicted({ dp: 64, tp: 1 }, { nvlink: 1e15, network: 1e6 });
  expect(slow.generation).toBe(12.5);
  expect(slow.training).toBeGreaterThan(20);
});

it('a study that is planned for one device has neither mesh nor parts', () => {
  const config = parseStudyConfig(onMesh(study, null, {}), 'study');
  expect(config.students[0]!.training).toMatchObject({ mesh: { dp: 1, tp: 1 }, fullyShard: false });
  expect(parseStudyConfig(onMesh(study, { dp: 4, tp: 1 }, {}), 'study').students[0]!.training).toMatchObject({
    mesh: { dp: 4, tp: 1 },
    fullyShard: true,
  });
});

import { expect, it } from 'vitest';
import { soak } from './soak.js';

it('killed in every stage, in the middle of writes too, it ends as an undisturbed run does', () => {
  const { kills, differences, doubled } = soak({ kills: 14, perStage: 2, seed: 3, real: false });
  expect(differences).toEqual([]);
  expect(doubled).toEqual([]);
  expect(Math.min(...Object.values(kills))).toBeGreaterThanOrEqual(2);
});

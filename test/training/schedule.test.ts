import { describe, expect, it } from 'vitest';
import { createSchedule } from '../../src/training/schedule.js';

describe('createSchedule', () => {
  it('warms up from 0 and falls to almost 0 in a half cosine', () => {
    const schedule = createSchedule('cosine', 100, 0.1);
    expect(schedule.warmupSteps).toBe(10);
    expect(schedule.factor(0)).toBe(0);
    expect(schedule.factor(5)).toBe(0.5);
    expect(schedule.factor(10)).toBe(1);
    expect(schedule.factor(55)).toBeCloseTo(0.5, 12);
    expect(schedule.factor(99)).toBeCloseTo(0.5 * (1 + Math.cos((Math.PI * 89) / 90)), 15);
  });

  it('takes the integer part of the warm-up', () => {
    expect(createSchedule('cosine', 19, 0.1).warmupSteps).toBe(1);
    const short = createSchedule('cosine', 9, 0.1);
    expect(short.warmupSteps).toBe(0);
    expect(short.factor(0)).toBe(1);
  });

  it('falls monotonically after the warm-up and never below 0', () => {
    const schedule = createSchedule('cosine', 37, 0.2);
    for (let step = schedule.warmupSteps + 1; step < 37; ++step) {
      expect(schedule.factor(step)).toBeLessThan(schedule.factor(step - 1));
      expect(schedule.factor(step)).toBeGreaterThan(0);
    }
  });

  it('stays at 1 when constant', () => {
    const schedule = createSchedule('constant', 10, 0.2);
    expect([0, 1, 2, 9].map(schedule.factor)).toEqual([0, 0.5, 1, 1]);
  });

  it('refuses a run without steps and a ratio outside [0, 1]', () => {
    expect(() => createSchedule('cosine', 0, 0.1)).toThrow("Expected 'totalSteps' to be an integer ≥ 1 but received 0");
    expect(() => createSchedule('cosine', 5, 1.5)).toThrow("Expected 'warmupRatio'");
  });
});

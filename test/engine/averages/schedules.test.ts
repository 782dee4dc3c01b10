import { describe, expect, test } from 'vitest';
import { type Moment, type Schedule, weightAt } from '../../../src/engine/averages/index.js';

// Numbers that the peers' own code gave, or their papers print; w = 1 − decay.

/** The k-th of updates that are all folded. */
const moment = (k: number, firstIndex = 0): Moment => ({ n: firstIndex + k - 1, elapsed: 1, time: k });

function decays(schedule: Schedule, count: number, firstIndex = 0): number[] {
  return Array.from({ length: count }, (_, i) => 1 - weightAt(schedule, false, moment(i + 1, firstIndex)));
}

function expectClose(found: readonly number[], expected: readonly number[], digits = 6): void {
  expect(found).toHaveLength(expected.length);
  for (const [index, value] of expected.entries()) expect(found[index]).toBeCloseTo(value, digits);
}

describe('half-life (Composer)', () => {
  test.each([
    [1_000, 1, 0.9993070929904525],
    [10, 2, 0.8705505632961241],
  ])('%i updates, %i at once: decay %f', (updates, elapsed, decay) => {
    const weight = weightAt({ kind: 'half_life', updates }, false, { n: 0, elapsed, time: elapsed });
    expect(1 - weight).toBeCloseTo(decay, 15);
  });
});

describe('ratio warm-up (TensorFlow)', () => {
  test('0.1, 0.1818, 0.25 …', () => {
    const expected = [0.1, 0.181818, 0.25, 0.307692, 0.357143, 0.4];
    expectClose(decays({ kind: 'ratio_warmup', decay: 1, decayMin: 0 }, 6), expected);
  });

  test.each([
    [0.99, 890],
    [0.999, 8_990],
    [0.9999, 89_990],
  ])('reaches %f at n = %i', (decay, n) => {
    const at = (index: number) => weightAt({ kind: 'ratio_warmup', decay, decayMin: 0 }, false, moment(1, index));
    expect(at(n)).toBeCloseTo(1 - decay, 12);
    expect(at(n - 1)).toBeGreaterThan(1 - decay);
    expect(at(n + 1)).toBe(1 - decay);
  });

  test('is never below decayMin', () => {
    expectClose(decays({ kind: 'ratio_warmup', decay: 1, decayMin: 0.2 }, 3), [0.2, 0.2, 0.25]);
  });
});

describe('inverse power (k-diffusion, timm, diffusers)', () => {
  const rule = { kind: 'inverse_power', decayMin: 0, decayMax: 1 } as const;

  test.each([
    [1, 2 / 3, [0, 0.370039, 0.51925, 0.60315, 0.658005, 0.697147]],
    [1, 3 / 4, [0, 0.405396, 0.561309, 0.646447, 0.70093, 0.739153]],
    [1, 1, [0, 0.5, 0.666667, 0.75, 0.8, 0.833333]],
    [10, 2 / 3, [0, 0.061564, 0.114451, 0.160467, 0.200936, 0.236857]],
  ])('invGamma %i, power %f', (invGamma, power, expected) => {
    expectClose(decays({ ...rule, invGamma, power }, 6), expected);
  });

  test('stays inside its bounds', () => {
    const bounded = { ...rule, invGamma: 1, power: 2 / 3, decayMin: 0.4, decayMax: 0.6 };
    expectClose(decays(bounded, 4), [0.4, 0.4, 0.51925, 0.6]);
  });
});

test('exponential ramp (ultralytics)', () => {
  const rule = { kind: 'exponential_ramp', decay: 0.9999, tau: 2_000 } as const;
  expectClose(decays(rule, 6), [0, 0.0005, 0.000999, 0.001499, 0.001998, 0.002497]);
  expectClose(decays(rule, 1, 2_000), [0.632057]);
});

test('half-life fraction (torchtitan)', () => {
  const rule = { kind: 'half_life_fraction', fraction: 0.05 } as const;
  expectClose(decays(rule, 5, 1), [9.54e-7, 0.000977, 0.009843, 0.03125, 0.0625]);
  expectClose([...decays(rule, 1, 100), ...decays(rule, 1, 1_000)], [0.870551, 0.986233]);
  expect(decays(rule, 1, 0)).toEqual([0]);
});

test('annealed momentum (mmengine)', () => {
  const rule = { kind: 'annealed_momentum', momentum: 0.0002, gamma: 100 } as const;
  const weights = decays(rule, 6).map((decay) => 1 - decay);
  expectClose(weights, [1, 0.990099, 0.980392, 0.970874, 0.961538, 0.952381]);
  expectClose(decays(rule, 1, 10 ** 6), [0.9998], 12);
});

test('cosine (BYOL, DINO): to 1 at its end, where it stays', () => {
  const rule = { kind: 'cosine', decay: 0.996, steps: 5 } as const;
  expectClose(decays(rule, 7), [0.996, 0.996382, 0.997382, 0.998618, 0.999618, 1, 1]);
});

describe('bias correction (optax)', () => {
  test.each([
    [0.9, [1, 0.526316, 0.369004, 0.290782, 0.244194, 0.21342]],
    [0.999, [1, 0.50025, 0.333667, 0.250375, 0.2004, 0.167084]],
    [0, [1, 1, 1]],
  ])('decay %f', (decay, expected) => {
    const weights = expected.map((_, i) => weightAt({ kind: 'constant', decay }, true, moment(i + 1)));
    expectClose(weights, expected);
    expect(weights[0]).toBe(1);
  });

  test('by half-life is the same as by decay', () => {
    const decay = 2 ** (-1 / 100);
    for (const k of [1, 2, 100, 10_000]) {
      const byDecay = weightAt({ kind: 'constant', decay }, true, moment(k));
      expect(weightAt({ kind: 'half_life', updates: 100 }, true, moment(k))).toBeCloseTo(byDecay, 12);
    }
  });
});

describe('half-life ramp-up (EDM2)', () => {
  const weight = (halfLife: number, time: number, elapsed = 1) =>
    weightAt({ kind: 'half_life_ramp_up', halfLife, ratio: 0.09 }, false, { n: 0, elapsed, time });

  test('a share of all updates until the half-life is reached', () => {
    expect(weight(90, 100)).toBeCloseTo(1 - 2 ** (-1 / 9), 12);
    expect(weight(90, 1_000)).toBeCloseTo(1 - 2 ** (-1 / 90), 12);
    expect(weight(90, 100_000)).toBe(weight(90, 1_000));
    expect(weight(90, 1_000, 10)).toBeCloseTo(1 - 2 ** (-10 / 90), 12);
  });

  test('0 is no bound', () => {
    expect(weight(0, 10 ** 6)).toBeCloseTo(1 - 2 ** (-1 / 90_000), 12);
  });
});

test('a weight is from 0 to 1, at the first update and far away, whatever the schedule', () => {
  const schedules: Schedule[] = [
    ...[0, 0.5, 1].map((decay) => ({ kind: 'constant', decay }) as const),
    { kind: 'mean' },
    ...[1e-9, 1, 1e15].map((updates) => ({ kind: 'half_life', updates }) as const),
    { kind: 'ratio_warmup', decay: 1, decayMin: 0 },
    { kind: 'inverse_power', invGamma: 1e-9, power: 1e9, decayMin: 0, decayMax: 1 },
    { kind: 'exponential_ramp', decay: 1, tau: 1e-9 },
    ...[1e-12, 1e12].map((fraction) => ({ kind: 'half_life_fraction', fraction }) as const),
    { kind: 'annealed_momentum', momentum: 0, gamma: 1e-12 },
    { kind: 'cosine', decay: 0, steps: 1 },
    ...[0, 1e6].map((gamma) => ({ kind: 'power_function', gamma }) as const),
    { kind: 'half_life_ramp_up', halfLife: 0, ratio: 1e-12 },
  ];
  for (const schedule of schedules) {
    for (const [n, time, elapsed] of [
      [0, 1, 1],
      [1, 2, 1],
      [0, 100, 100],
      [1e15, 1e15, 1],
      [1e15, 1e15, 1e15],
    ] as const) {
      const weight = weightAt(schedule, false, { n, time, elapsed });
      expect({ schedule, weight, isShare: weight >= 0 && weight <= 1 }).toMatchObject({ isShare: true });
    }
  }
});

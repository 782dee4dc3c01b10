import { expect, test } from 'vitest';
import { generationIssuer } from '../../../src/server/trainers/issue-generation.js';

test('generations rise and are exact numbers, whatever the clock does', () => {
  const clock = [1_000, 1_000, 5_000, 10, 0, 5_001, 5_001].map((offset) => 1.8e12 + offset);
  const issue = generationIssuer(() => clock.shift() ?? 1.8e12);
  const issued = Array.from({ length: 5_000 }, issue);
  expect(issued.every(Number.isSafeInteger)).toBe(true);
  expect(issued.every((generation, index) => index === 0 || generation > issued[index - 1]!)).toBe(true);
});

test('two servers whose clocks say the same give other numbers, as good as ever', () => {
  const first = Array.from({ length: 64 }, () => generationIssuer(() => 1.8e12)());
  expect(new Set(first).size).toBeGreaterThan(32);
});

test('they are exact for the life of this program', () => {
  expect(generationIssuer(() => Date.UTC(2100, 0))()).toBeLessThan(Number.MAX_SAFE_INTEGER);
});

import { describe, expect, test } from 'vitest';
import type { KernelMode } from '../../src/kernels/index.js';
import { Sequence } from './writers-model/sequence.js';

// Random worlds of writers and everything that happens to them against a naive model.
//
//   SHADOWKEEP_MODEL_SEED=N       plays one sequence, the one whose seed a failure names
//   SHADOWKEEP_MODEL_SEQUENCES=N  plays so many
const REPLAY = process.env['SHADOWKEEP_MODEL_SEED'];
const MODE = (process.env['SHADOWKEEP_KERNELS'] ?? 'simd') as KernelMode;
/** The legs of the test run play different sequences; the scalar kernels are slow. */
const [SEED, COUNT] = MODE === 'simd' ? [40_250_611, 2_000] : [50_250_611, 1_000];
const SEQUENCE_COUNT = Number(process.env['SHADOWKEEP_MODEL_SEQUENCES'] ?? COUNT);

/** Sequences in one test, so that a failure and a hang are told apart. */
const BLOCK = 250;

const seeds = REPLAY === undefined ? Array.from({ length: SEQUENCE_COUNT }, (_, i) => SEED + i) : [Number(REPLAY)];
const blocks = Array.from({ length: Math.ceil(seeds.length / BLOCK) }, (_, i) =>
  seeds.slice(i * BLOCK, (i + 1) * BLOCK),
);

describe(`many writers against a naive model, ${MODE}`, () => {
  test.each(blocks)('sequences from seed %i', async (...block) => {
    for (const seed of block) {
      const sequence = new Sequence(seed, MODE);
      await sequence.play().catch((error: Error) => {
        const told = sequence.log.map((line, index) => `${index}. ${line}`).join('\n');
        expect.fail(`SHADOWKEEP_MODEL_SEED=${seed}: ${error.stack}\n${told}`);
      });
    }
  });
});

import { describe, expect, test } from 'vitest';
import type { KernelMode } from '../../src/kernels/index.js';
import { Sequence } from './model/sequence.js';

// Random interleavings of runs, pushes, aborts, fences, readers and deletes against a naive model.
//
//   SHADOWKEEP_MODEL_SEED=N       plays one sequence, the one whose seed a failure names
//   SHADOWKEEP_MODEL_SEQUENCES=N  plays so many
const REPLAY = process.env['SHADOWKEEP_MODEL_SEED'];
const SEQUENCE_COUNT = Number(process.env['SHADOWKEEP_MODEL_SEQUENCES'] ?? 600);
const MODE = (process.env['SHADOWKEEP_KERNELS'] ?? 'simd') as KernelMode;
/** The legs of the test run play different sequences. */
const SEED = MODE === 'simd' ? 20_250_611 : 30_250_611;

/** Sequences in one test, so that a failure and a hang are told apart. */
const BLOCK = 100;

const seeds = REPLAY === undefined ? Array.from({ length: SEQUENCE_COUNT }, (_, i) => SEED + i) : [Number(REPLAY)];
const blocks = Array.from({ length: Math.ceil(seeds.length / BLOCK) }, (_, i) =>
  seeds.slice(i * BLOCK, (i + 1) * BLOCK),
);

describe(`the engine against a naive model, ${MODE}`, () => {
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

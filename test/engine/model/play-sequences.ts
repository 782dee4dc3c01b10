import { describe, expect, test } from 'vitest';
import type { KernelMode } from '../../../src/kernels/index.js';

// Both model tests take
//
//   SHADOWKEEP_MODEL_SEED=N       plays one sequence, the one whose seed a failure names
//   SHADOWKEEP_MODEL_SEQUENCES=N  plays so many
const REPLAY = process.env['SHADOWKEEP_MODEL_SEED'];
const SEQUENCES = process.env['SHADOWKEEP_MODEL_SEQUENCES'];

/** The leg of the test run: each plays different sequences. */
export const MODE = (process.env['SHADOWKEEP_KERNELS'] ?? 'simd') as KernelMode;

/** A block takes 4 s of one quiet core, and a minute of one that fifteen other processes share. */
const BLOCK_TIMEOUT_MS = 600_000;

/** What one seed decides. */
interface Sequence {
  /** What has happened, for a failure to tell. */
  readonly log: readonly string[];
  play(): Promise<void>;
}

interface Plan {
  /** Of the first sequence; the next ones follow. */
  readonly seed: number;
  readonly count: number;
  /** Sequences in one test, so that a failure and a hang are told apart. */
  readonly block: number;
}

export function playSequences(
  title: string,
  { seed, count, block }: Plan,
  Played: new (seed: number, mode: KernelMode) => Sequence,
): void {
  const length = Number(SEQUENCES ?? count);
  const seeds = REPLAY === undefined ? Array.from({ length }, (_, i) => seed + i) : [Number(REPLAY)];
  const blocks = Array.from({ length: Math.ceil(seeds.length / block) }, (_, i) =>
    seeds.slice(i * block, (i + 1) * block),
  );
  describe(`${title}, ${MODE}`, () => {
    test.each(blocks)('sequences from seed %i', { timeout: BLOCK_TIMEOUT_MS }, async (...block) => {
      for (const seed of block) {
        const sequence = new Played(seed, MODE);
        await sequence.play().catch((error: Error) => {
          const told = sequence.log.map((line, index) => `${index}. ${line}`).join('\n');
          expect.fail(`SHADOWKEEP_MODEL_SEED=${seed}: ${error.stack}\n${told}`);
        });
      }
    });
  });
}

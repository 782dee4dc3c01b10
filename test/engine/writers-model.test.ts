import { MODE, playSequences } from './model/play-sequences.js';
import { Sequence } from './writers-model/sequence.js';

// Random worlds of writers and everything that happens to them against a naive model; the scalar kernels are slow.
const [seed, count] = MODE === 'simd' ? [40_250_611, 2_000] : [50_250_611, 1_000];
playSequences('many writers against a naive model', { seed, count, block: 250 }, Sequence);

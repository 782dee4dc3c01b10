import { MODE, playSequences } from './model/play-sequences.js';
import { Sequence } from './model/sequence.js';

// Random interleavings of runs, pushes, aborts, fences, readers and deletes against a naive model.
const seed = MODE === 'simd' ? 20_250_611 : 30_250_611;
playSequences('the engine against a naive model', { seed, count: 600, block: 100 }, Sequence);

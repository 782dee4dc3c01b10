export { AVERAGE_DEFAULTS } from '../../common/index.js';
export { gammaOf } from './power-function.js';
export { type Advance, advanceInitial, advanceUpdate, NO_PROGRESS, type Progress } from './progress.js';
export { checkSameAverages, firstDifference } from './same-averages.js';
export type { AverageSpec, Moment, Schedule, Start } from './spec.js';
export { weightAt } from './weight-at.js';

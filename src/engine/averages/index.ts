export { gammaOf, sigmaRelOf } from './power-function.js';
export { type Advance, advanceInitial, advanceUpdate, NO_PROGRESS, type Progress } from './progress.js';
export { checkSameAverages, firstDifference } from './same-averages.js';
export { AVERAGE_DEFAULTS, type AverageSpec, type Moment, type Schedule, type Start } from './spec.js';
export { weightAt } from './weight-at.js';

export { runDemo } from './demo.js';
export { SEED_DEFAULT, SEED_MAX, STEPS_DEFAULT, STEPS_MAX, STEPS_MIN } from './setup.js';

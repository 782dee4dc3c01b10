import { averageEma } from '../averages/index.js';
import { fraction, REQUIRED } from './option.js';
import { definePreset } from './preset.js';

/**
 * The class with register, update, apply_shadow and restore, which blends the first update into the registered weights.
 */
export const textbook = definePreset({
  name: 'textbook',
  peer: 'the EMA class with register() and update()',
  buffers: 'copy',
  rule: 'constant decay, start INITIAL',
  options: { decay: fraction(REQUIRED) },
  expand: ({ name, options: { decay } }) => averageEma(name, { decay, start: 'INITIAL' }),
});

export { parseAverage, preset } from './expand.js';
export { commonPresetOptions, listPresets, type PresetInfo, type PresetOption } from './list.js';
export type { GivenOptions } from './preset.js';

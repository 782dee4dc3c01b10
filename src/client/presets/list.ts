import { COMMON_OPTIONS, type Option, REQUIRED, showValue } from './option.js';
import { PRESETS } from './table.js';

/** An option of a preset, described for people. */
export interface PresetOption {
  readonly name: string;
  /** The default as text; undefined for an option that must be given. */
  readonly default: string | undefined;
  /** What the value may be, such as `a number from 0 to 1`. */
  readonly bound: string;
  /** Why the option has no effect, or takes only one value; undefined for other options. */
  readonly note: string | undefined;
}

export interface PresetInfo {
  readonly name: string;
  /** The implementation whose numbers the preset reproduces; undefined for a schedule of Shadowkeep's own. */
  readonly peer: string | undefined;
  /**
   * What the peer does with a model's floating-point buffers by default; undefined for a schedule of Shadowkeep's own.
   */
  readonly buffers: 'average' | 'copy' | undefined;
  /** The average that the preset becomes, in words. */
  readonly rule: string;
  readonly options: readonly PresetOption[];
}

/** All names that `preset` and `parseAverage` know: first the peers', then Shadowkeep's own schedules. */
export function listPresets(): PresetInfo[] {
  return [...PRESETS.values()].map(({ name, peer, buffers, rule, options }) => ({
    name,
    peer,
    buffers,
    rule,
    options: listed(options),
  }));
}

/** The options that every preset has in addition to its own. */
export function commonPresetOptions(): PresetOption[] {
  return listed(COMMON_OPTIONS);
}

function listed(options: Readonly<Record<string, Option<unknown>>>): PresetOption[] {
  return Object.entries(options).map(([name, { fallback, bound, note }]) => ({
    name,
    default: fallback === REQUIRED ? undefined : showValue(fallback),
    bound,
    note,
  }));
}

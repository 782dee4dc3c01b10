import { COMMON_OPTIONS, type Option, REQUIRED, showValue } from './option.js';
import { PRESETS } from './table.js';

/** An option as documentation has it. */
export interface PresetOption {
  readonly name: string;
  /** As text; undefined: it must be given. */
  readonly default: string | undefined;
  /** What it may be, as `a number from 0 to 1`. */
  readonly bound: string;
  /** Why it has no effect, or only one value. */
  readonly note: string | undefined;
}

export interface PresetInfo {
  readonly name: string;
  /** Whose numbers it gives; undefined: a schedule of our own. */
  readonly peer: string | undefined;
  /** What the peer does with a model's floating-point buffers by default; undefined: nothing is said. */
  readonly buffers: 'average' | 'copy' | undefined;
  /** What it becomes. */
  readonly rule: string;
  readonly options: readonly PresetOption[];
}

/** Everything that `preset` and `parseAverage` know, peers first, then our own schedules. */
export function listPresets(): PresetInfo[] {
  return [...PRESETS.values()].map(({ name, peer, buffers, rule, options }) => ({
    name,
    peer,
    buffers,
    rule,
    options: listed(options),
  }));
}

/** The options that every preset has besides its own. */
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

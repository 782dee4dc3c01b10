import { checkAverageName, quote, ShadowkeepError } from '../../common/index.js';
import type { AverageSpec } from '../types.js';
import { COMMON_OPTIONS, type Option, REQUIRED, showValue, type ValuesOf } from './option.js';
import { type GivenOptions, optionError, type Preset } from './preset.js';
import { PRESETS } from './table.js';

/**
 * Makes the averages of a preset: one, or several if the peer keeps several. `options` are the peer's own, with its
 * names and defaults (`shadowkeep presets` lists them), and `name` (default: the preset's), `precision`, `include`,
 * `exclude`.
 *
 * ```ts averages: [...preset('timm-v3', { decay: 0.9998, use_warmup: true }), ...preset('edm2', { stds: [0.05, 0.1] })]
 * ```
 *
 * Throws INVALID_AVERAGE, which names the preset, the option, the value and its bound, and INVALID_NAME for a bad
 * `name`.
 */
export function preset(presetName: string, options: GivenOptions = {}): AverageSpec[] {
  return expand(findPreset(presetName), options);
}

/**
 * Makes the averages of a text `[NAME=]PRESET[:option=value,option=value…]`, such as
 * `ema=timm-v3:decay=0.9998,use_warmup=true`. Values are numbers, `true`, `false`, `none`, words, and lists joined by
 * `+`. Throws the same errors as `preset`.
 */
export function parseAverage(text: string): AverageSpec[] {
  const [, name, presetName = '', rest] = /^(?:([^=:]*)=)?([^=:]*)(?::(.*))?$/s.exec(text) ?? [];
  if (presetName === '') {
    throw new ShadowkeepError(
      'INVALID_AVERAGE',
      `an average must be [NAME=]PRESET[:option=value,…], got ${quote(text)}`,
    );
  }
  const found = findPreset(presetName);
  const given = new Map<string, unknown>(name === undefined ? [] : [['name', name]]);
  for (const part of rest === undefined ? [] : rest.split(',')) {
    const [, key, value] = /^([^=]+)=(.+)$/s.exec(part) ?? [];
    if (key === undefined || value === undefined) throw optionError(presetName, 'an option', part, 'option=value');
    if (given.has(key)) throw optionError(presetName, key, value, 'given once');
    given.set(key, readOption(found, key, value));
  }
  return expand(found, Object.fromEntries(given));
}

function findPreset(name: string): Preset {
  const found = PRESETS.get(name);
  if (found !== undefined) return found;
  const near = [...PRESETS.keys()].filter((candidate) => isNear(plain(candidate), plain(name)));
  const hint = near.length === 0 ? '' : `did you mean ${near.join(' or ')}? `;
  throw new ShadowkeepError('INVALID_AVERAGE', `no preset ${quote(name)}: ${hint}shadowkeep presets lists them all`);
}

function plain(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '');
}

/** Whether one name is a part of the other. Names of fewer than three letters are near nothing. */
function isNear(candidate: string, given: string): boolean {
  return given.length > 2 && (candidate.includes(given) || given.includes(candidate));
}

function readOption(preset: Preset, key: string, text: string): unknown {
  const option = optionOf(preset, key);
  const value = option.read(text);
  if (value === undefined) throw optionError(preset.name, key, text, option.bound);
  return value;
}

function expand(preset: Preset, options: GivenOptions): AverageSpec[] {
  const given = new Map(Object.entries(options).filter(([, value]) => value !== undefined));
  for (const [key, value] of given) {
    const option = optionOf(preset, key);
    if (!option.holds(value)) throw optionError(preset.name, key, value, option.bound);
  }
  const shared = complete(preset, COMMON_OPTIONS, given) as ValuesOf<typeof COMMON_OPTIONS>;
  const values = complete(preset, preset.options, given);
  const averages = preset.expand({
    name: shared.name ?? preset.name,
    options: values,
    given: new Set(given.keys()),
    refuse: (option, bound) => optionError(preset.name, option, values[option], bound),
  });
  const source = preset.peer === undefined ? {} : { preset: textOf(preset, given) };
  return averages.map((average) => ({ ...withShared(preset, average, shared), ...source }));
}

/** Adds the options that all presets have in common to an average of a preset. */
function withShared(
  preset: Preset,
  average: AverageSpec,
  { precision, include, exclude }: ValuesOf<typeof COMMON_OPTIONS>,
): AverageSpec {
  checkAverageName(average.name ?? '', 'name');
  const own = average.precision ?? precision;
  if (precision !== null && own !== precision) {
    throw optionError(preset.name, 'precision', precision, `${own}, which another option says`);
  }
  return {
    ...average,
    ...(precision === null || precision === 'F32' ? {} : { precision }),
    ...(include === null ? {} : { include: [...include] }),
    ...(exclude === null ? {} : { exclude: [...exclude] }),
  };
}

/** The option of a preset by its name: one of its own, or one that all presets have. Throws INVALID_AVERAGE. */
function optionOf(preset: Preset, key: string): Option<unknown> {
  const all: Readonly<Record<string, Option<unknown>>> = { ...preset.options, ...COMMON_OPTIONS };
  const option = Object.hasOwn(all, key) ? all[key] : undefined;
  if (option !== undefined) return option;
  const message = `${preset.name} has no option ${quote(key)}, only ${Object.keys(all).join(', ')}`;
  throw new ShadowkeepError('INVALID_AVERAGE', message, { metadata: { field: key } });
}

/** The value of every option in a table: what was given, or the default. Throws INVALID_AVERAGE for a missing one. */
function complete(
  preset: Preset,
  table: Readonly<Record<string, Option<unknown>>>,
  given: ReadonlyMap<string, unknown>,
): Record<string, unknown> {
  const entries = Object.entries(table).map(([key, { fallback, bound }]) => {
    const value = given.has(key) ? given.get(key) : fallback;
    if (value === REQUIRED) throw optionError(preset.name, key, null, `given: ${bound}`);
    return [key, value];
  });
  return Object.fromEntries(entries);
}

/**
 * The canonical text of a preset: its name and the peer's own options that were given, in the order of its signature.
 */
function textOf(preset: Preset, given: ReadonlyMap<string, unknown>): string {
  const options = Object.keys(preset.options).filter((key) => given.has(key));
  if (options.length === 0) return preset.name;
  return `${preset.name}:${options.map((key) => `${key}=${showValue(given.get(key))}`).join(',')}`;
}

import { quote, ShadowkeepError } from '../../common/index.js';
import type { AverageSpec } from '../types.js';
import { type Option, showValue, type ValuesOf } from './option.js';

/** The options that a text or a program gives, not checked yet. */
export type GivenOptions = Readonly<Record<string, unknown>>;

/** The checked options that a preset makes its averages from. */
export interface Expansion<Values> {
  readonly name: string;
  readonly options: Values;
  /** Names of the options that were given rather than left to their defaults. */
  readonly given: ReadonlySet<string>;
  /** Makes the error for a value that its own bound allows but another option's value does not. */
  readonly refuse: (option: keyof Values & string, bound: string) => ShadowkeepError;
}

/** A named recipe for averages: that of another implementation (a peer), or a schedule of Shadowkeep's own. */
export interface Preset {
  readonly name: string;
  /** The peer's module and class, whose numbers the preset reproduces; undefined for a schedule of Shadowkeep's own. */
  readonly peer?: string;
  /**
   * What the peer does with a model's floating-point buffers unless an option says otherwise; undefined for a schedule
   * of Shadowkeep's own.
   */
  readonly buffers?: 'average' | 'copy';
  /** The average that the preset becomes, in words for people. */
  readonly rule: string;
  /** The options, in the order of the peer's signature. */
  readonly options: Readonly<Record<string, Option<unknown>>>;
  readonly expand: (expansion: Expansion<Record<string, unknown>>) => AverageSpec[];
}

/** Defines a preset whose `expand` sees the values of its options with their types. */
export function definePreset<Options extends Readonly<Record<string, Option<unknown>>>>(definition: {
  name: string;
  peer?: string;
  buffers?: 'average' | 'copy';
  rule: string;
  options: Options;
  expand: (expansion: Expansion<ValuesOf<Options>>) => AverageSpec | AverageSpec[];
}): Preset {
  return {
    ...definition,
    // The assertion holds because `expand.ts` has checked each value against the options that the type comes from.
    expand: (expansion) => [definition.expand(expansion as unknown as Expansion<ValuesOf<Options>>)].flat(),
  };
}

/** The error for a bad value of an option, which names the preset, the option, the value and the bound. */
export function optionError(preset: string, option: string, value: unknown, bound: string): ShadowkeepError {
  const shown = typeof value === 'string' ? quote(value) : showValue(value);
  return new ShadowkeepError('INVALID_AVERAGE', `${preset}: ${option} must be ${bound}, got ${shown}`, {
    metadata: { field: option },
  });
}

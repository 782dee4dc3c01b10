import { quote, ShadowkeepError } from '../../common/index.js';
import type { AverageSpec } from '../types.js';
import { type Option, showValue, type ValuesOf } from './option.js';

/** Options as text has them, or as a program gives them; not checked yet. */
export type GivenOptions = Readonly<Record<string, unknown>>;

/** What an expansion gets. */
export interface Expansion<Values> {
  readonly name: string;
  readonly options: Values;
  /** Names of the options that were given rather than left to their defaults. */
  readonly given: ReadonlySet<string>;
  /** The error for a value that its own bound allows, but which goes with another one badly. */
  readonly refuse: (option: keyof Values & string, bound: string) => ShadowkeepError;
}

/** One name of the table: a peer's implementation, or a schedule of our own. */
export interface Preset {
  readonly name: string;
  /** Whose numbers it gives: module and class. Undefined: a schedule of our own. */
  readonly peer?: string;
  /** What the peer does with a model's floating-point buffers unless an option says otherwise. Undefined: nothing is said. */
  readonly buffers?: 'average' | 'copy';
  /** What it becomes, for people. */
  readonly rule: string;
  /** In the order of the peer's signature. */
  readonly options: Readonly<Record<string, Option<unknown>>>;
  readonly expand: (expansion: Expansion<Record<string, unknown>>) => AverageSpec[];
}

/** Writes down a preset whose expansion sees its options with their types. */
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
    // The options were checked one by one against the table that the type comes from.
    expand: (expansion) => [definition.expand(expansion as unknown as Expansion<ValuesOf<Options>>)].flat(),
  };
}

/** Names the preset, the option, the value and the bound. */
export function optionError(preset: string, option: string, value: unknown, bound: string): ShadowkeepError {
  const shown = typeof value === 'string' ? quote(value) : showValue(value);
  return new ShadowkeepError('INVALID_AVERAGE', `${preset}: ${option} must be ${bound}, got ${shown}`, {
    metadata: { field: option },
  });
}

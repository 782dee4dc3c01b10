import { matchAll, toEnd } from '../../common/index.js';
import type { TensorList } from './tensor-spec.js';

/** Name patterns that say which tensors an average takes: those that `include` matches, or all, but none of `exclude`. */
export interface TensorFilter {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}

/** A pattern that no averaged tensor has a name for. */
export interface IdlePattern {
  readonly side: 'include' | 'exclude';
  readonly index: number;
}

/** The tensors of a layout that a filter takes: a 1 for each, by index. */
interface Choice {
  readonly taken: Uint8Array;
  readonly idle: IdlePattern | undefined;
}

/**
 * What is known of one list of tensors: those that are averaged (a 1 for each, by index), and those that each filter
 * takes.
 */
interface Choices {
  readonly averaged: Uint8Array;
  readonly byFilter: WeakMap<TensorFilter, Choice>;
}

/** For each list of tensors. The choices are kept, because an average is asked for its tensors again and again. */
const choices = new WeakMap<TensorList, Choices>();

const INCLUDED = 1;
const EXCLUDED = 2;

/**
 * Finds out which averaged tensors each filter takes, in one walk over their names. Yields between slices. Throws
 * INVALID_FIELD.
 */
export function* chooseTensors(tensors: TensorList, filters: readonly TensorFilter[]): Generator<void> {
  const { averaged, byFilter: known } = choicesOf(tensors);
  const missing = filters.filter((filter) => !known.has(filter) && isFiltered(filter));
  const marks = missing.map(() => new Uint8Array(tensors.length));
  const patterns: string[] = [];
  const owners: { mark: Uint8Array; bit: number }[] = [];
  const hasMatched: boolean[] = [];
  for (const [index, { include, exclude }] of missing.entries()) {
    for (const pattern of include) owners[patterns.push(pattern) - 1] = { mark: marks[index]!, bit: INCLUDED };
    for (const pattern of exclude) owners[patterns.push(pattern) - 1] = { mark: marks[index]!, bit: EXCLUDED };
  }
  yield* matchAll(patterns, tensors, "the averages' patterns", (tensor, pattern) => {
    if (averaged[tensor] !== 1) return;
    hasMatched[pattern] = true;
    const { mark, bit } = owners[pattern]!;
    mark[tensor]! |= bit;
  });
  let first = 0;
  for (const [index, filter] of missing.entries()) {
    const { include, exclude } = filter;
    const wanted = include.length === 0 ? 0 : INCLUDED;
    const taken = marks[index]!.map((mark, at) => Number(averaged[at] === 1 && mark === wanted));
    const idle = idlePattern(include.length, exclude.length, (pattern) => hasMatched[first + pattern] === true);
    known.set(filter, { taken, idle });
    first += include.length + exclude.length;
    yield;
  }
}

/** Whether a filter takes a tensor of a layout, by its index. */
export function choiceOf(tensors: TensorList, filter: TensorFilter): (index: number) => boolean {
  const taken = isFiltered(filter) ? choose(tensors, filter).taken : choicesOf(tensors).averaged;
  return (index) => taken[index] === 1;
}

/** The first pattern of a filter that matches no averaged tensor. */
export function idlePatternOf(tensors: TensorList, filter: TensorFilter): IdlePattern | undefined {
  return isFiltered(filter) ? choose(tensors, filter).idle : undefined;
}

/** `copy` has the same tensors as `tensors`, in the same order. */
export function shareChoices(tensors: TensorList, copy: TensorList): void {
  choices.set(copy, choicesOf(tensors));
}

export function isFiltered({ include, exclude }: TensorFilter): boolean {
  return include.length > 0 || exclude.length > 0;
}

function choose(tensors: TensorList, filter: TensorFilter): Choice {
  const { byFilter } = choicesOf(tensors);
  if (!byFilter.has(filter)) toEnd(chooseTensors(tensors, [filter]));
  return byFilter.get(filter)!;
}

function choicesOf(tensors: TensorList): Choices {
  let known = choices.get(tensors);
  if (known === undefined) {
    const averaged = Uint8Array.from(tensors, ({ policy }) => Number(policy === 'AVERAGE'));
    known = { averaged, byFilter: new WeakMap() };
    choices.set(tensors, known);
  }
  return known;
}

function idlePattern(
  includeCount: number,
  excludeCount: number,
  hasMatched: (pattern: number) => boolean,
): IdlePattern | undefined {
  for (let pattern = 0; pattern < includeCount + excludeCount; pattern++) {
    if (hasMatched(pattern)) continue;
    return pattern < includeCount
      ? { side: 'include', index: pattern }
      : { side: 'exclude', index: pattern - includeCount };
  }
  return undefined;
}

import {
  AVERAGE_COUNT_MAX,
  FLOAT_DTYPES,
  INCARNATION_CHARS_MAX,
  SNAPSHOT_COUNT_MAX,
  WRITER_COUNT_MAX,
} from '../../common/index.js';
import type { AverageState, LineageState, RunState } from '../../engine/index.js';
import {
  InvalidField,
  integer,
  list,
  number,
  object,
  oneOf,
  optional,
  type Read,
  readFields,
  text,
  tuple,
} from '../../storage/index.js';

/*
 * Reads the `state` of a checkpoint's manifest, and `lineage.json`, field by field: a file whose checksum is right may still
 * have been written by another version, or by hand. docs/formats.md lists the fields.
 */
export interface SavedRun {
  /** The OpenRunRequest that made the run. Its own validator reads it (saved-open-run.ts). */
  readonly open: object;
  /** The Average messages of the averages that the run has now. Their own validator reads them. */
  readonly averages: readonly object[];
  readonly state: RunState;
}

const step = integer(0);
const generation = integer(0);
const uint32 = integer(0, 2 ** 32 - 1);
const message: Read<object> = object();

const LINEAGE = {
  generation,
  firstGeneration: optional(generation),
  writers: integer(1, WRITER_COUNT_MAX),
  incarnations: list(tuple(text(1, INCARNATION_CHARS_MAX), integer(1))),
};

const AVERAGE: Read<AverageState> = object({
  numUpdates: integer(0),
  pushes: integer(0),
  weight: optional(number(0, 1)),
  originStep: optional(step),
  lastStep: optional(step),
  movement: optional(object({ distanceRel: optional(number(0)), changedShare: number(0, 1) })),
  addedAtStep: optional(step),
});

const SAVED: Read<SavedRun> = object({
  open: message,
  averages: list(message, 1, AVERAGE_COUNT_MAX),
  state: object({
    ...LINEAGE,
    step: optional(step),
    answeredStep: optional(step),
    averages: list(AVERAGE),
    snapshotsEverySteps: optional(integer(1)),
    snapshots: list(
      object({ average: text(1), gamma: number(0), step, time: integer(1) }),
      0,
      AVERAGE_COUNT_MAX * SNAPSHOT_COUNT_MAX,
    ),
    digests: list(object({ step, sum: uint32, weighted: uint32, wireDType: optional(oneOf(FLOAT_DTYPES)) })),
  }),
});

/**
 * Reads the state of the checkpoint at `path`, which was taken after `committedStep`. Throws StorageError: TOO_NEW for
 * a field that this program does not know, DAMAGED for a field that is missing, of another type, out of its bounds or
 * in contradiction to another.
 */
export function readSavedRun(state: unknown, committedStep: number | undefined, path: string): SavedRun {
  return readFields(path, () => {
    const saved = SAVED(state, 'state');
    const { averages, step, answeredStep, snapshots, digests } = saved.state;
    checkLineage(saved.state, 'state.state');
    refuseUnless(step === committedStep, 'state.state.step', step, `the manifest's ${committedStep ?? 'none'}`);
    const count = `one for each of the ${saved.averages.length} averages`;
    refuseUnless(averages.length === saved.averages.length, 'state.state.averages', averages.length, count);
    for (const [index, { numUpdates, pushes, lastStep }] of averages.entries()) {
      const where = `state.state.averages[${index}]`;
      refuseUnless(numUpdates <= pushes, `${where}.numUpdates`, numUpdates, `at most the ${pushes} pushes`);
      refuseUnless((lastStep ?? 0) <= (step ?? 0), `${where}.lastStep`, lastStep, upTo(step));
    }
    const isLater = answeredStep === undefined || answeredStep > (step ?? -1);
    refuseUnless(isLater, 'state.state.answeredStep', answeredStep, `after the committed ${step}`);
    for (const [name, entries] of Object.entries({ snapshots, digests })) {
      for (const [index, entry] of entries.entries()) {
        refuseUnless(entry.step <= (step ?? -1), `state.state.${name}[${index}].step`, entry.step, upTo(step));
      }
    }
    // The oldest is forgotten first, by its place in the list.
    for (const [index, digest] of digests.entries()) {
      const before = digests[index - 1]?.step ?? -1;
      refuseUnless(digest.step > before, `state.state.digests[${index}].step`, digest.step, `after ${before}`);
    }
    return saved;
  });
}

/** Reads the lineage in `lineage.json` field by field. Throws StorageError: DAMAGED, TOO_NEW. */
export function readSavedLineage(lineage: unknown, path: string): LineageState {
  return readFields(path, () => {
    const read = object(LINEAGE)(lineage, 'lineage');
    checkLineage(read, 'lineage');
    return read;
  });
}

function checkLineage({ generation, firstGeneration, incarnations }: LineageState, where: string): void {
  const first = firstGeneration ?? generation;
  refuseUnless(first <= generation, `${where}.firstGeneration`, first, `at most the generation, ${generation}`);
  let before = 0;
  for (const [index, [, issued]] of incarnations.entries()) {
    const isNext = issued > before && issued <= generation;
    const expected = `above the one before, ${before}, and at most the generation, ${generation}`;
    refuseUnless(isNext, `${where}.incarnations[${index}][1]`, issued, expected);
    before = issued;
  }
}

function upTo(step: number | undefined): string {
  return `at most the committed step, ${step ?? 'none'}`;
}

function refuseUnless(holds: boolean, where: string, found: unknown, expected: string): void {
  if (!holds) throw new InvalidField(where, found, expected);
}

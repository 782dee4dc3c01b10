import { quote, ShadowkeepError } from '../../common/index.js';
import type { AverageSpec, RunRequest } from '../../engine/index.js';
import { completeOpenRun } from '../../protocol/index.js';
import { damagedFile, StorageError } from '../../storage/index.js';
import { validateOpenRun } from '../messages/index.js';
import type { SavedRun } from './saved-run.js';

/** What a run is opened with when it is restored from its checkpoint. */
export interface SavedOpenRun {
  readonly spec: RunRequest;
  /** The averages that the run had when the checkpoint was written, which are not those that it was opened with. */
  readonly averages: readonly AverageSpec[];
}

/**
 * Reads the messages in a checkpoint's state by the rules of the requests that they were. Throws StorageError: DAMAGED,
 * and TOO_NEW for a field or a value that this program's protocol does not have.
 */
export function readSavedOpenRun({ open, averages, state }: SavedRun, name: string, path: string): SavedOpenRun {
  const { spec } = readRequest(open, 'state.open', path);
  if (spec.name !== name) throw damagedFile(path, `it is of run ${spec.name}, and lies in the folder of ${name}`);
  const present = readRequest({ ...open, averages, snapshots: undefined }, 'state', path).spec.averages;
  if ((spec.snapshots === undefined) !== (state.snapshotsEverySteps === undefined)) {
    throw damagedFile(path, 'state.open.snapshots and state.state.snapshotsEverySteps are there only together');
  }
  for (const [index, { average, gamma }] of state.snapshots.entries()) {
    const schedule = present.find((candidate) => candidate.name === average)?.schedule;
    if (schedule?.kind === 'power_function' && schedule.gamma === gamma) continue;
    const problem = `state.state.snapshots[${index}] is of ${quote(average)} with gamma ${gamma}, and no average is so`;
    throw damagedFile(path, problem);
  }
  return { spec, averages: present };
}

/** Validates a saved OpenRunRequest. `where` is its path in the manifest, for error texts. */
function readRequest(message: object, where: string, path: string): ReturnType<typeof validateOpenRun> {
  let complete: ReturnType<typeof completeOpenRun>;
  try {
    complete = completeOpenRun(message);
  } catch (error) {
    throw damagedFile(path, `${where} is no OpenRun: ${error instanceof Error ? error.message : String(error)}`);
  }
  const lost = lostOf(message, complete, where);
  if (lost !== undefined) {
    const problem = `it has ${lost}, which this version does not know or reads as something else`;
    throw new StorageError('TOO_NEW', path, `${path} was written by a newer version: ${problem}`);
  }
  try {
    return validateOpenRun(complete);
  } catch (error) {
    if (!(error instanceof ShadowkeepError)) throw error;
    throw damagedFile(path, `${where}: ${error.message}`);
  }
}

/**
 * The path of the first value in `value` that is missing or different in `complete`, which is `value` after one trip
 * through the protocol's encoding; undefined when every value has come through.
 */
function lostOf(value: unknown, complete: unknown, where: string): string | undefined {
  if (typeof value !== 'object' || value === null) return Object.is(value, complete) ? undefined : where;
  const counterpart = typeof complete === 'object' && complete !== null ? complete : {};
  const isSame = Array.isArray(value) === Array.isArray(complete);
  const isWhole = isSame && (!Array.isArray(value) || value.length === (counterpart as unknown[]).length);
  if (!isWhole) return where;
  for (const [name, entry] of Object.entries(value)) {
    if (entry === undefined) continue;
    const found = Object.hasOwn(counterpart, name) ? (counterpart as Record<string, unknown>)[name] : undefined;
    const lost = lostOf(entry, found, Array.isArray(value) ? `${where}[${name}]` : `${where}.${name}`);
    if (lost !== undefined) return lost;
  }
  return undefined;
}

import type { Dirent } from 'node:fs';
import { readdir, realpath } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { checkRunName } from '../../common/index.js';
import { lookAt } from '../directory.js';
import { errnoOf, StorageError, storageError } from '../errors.js';

/*
 * DATA_DIR/
 *   RUN/                        one per run, named by it
 *     step-000000000123-7/      a checkpoint: the run after step 123, the 7th one written ("step-none-…": no step yet)
 *       manifest.json
 *       PART.safetensors        one per part
 *     tmp-…/                    being written, or left by a crash: never read
 *   .deleted-…/                 a deleted run on its way out
 */

export const MANIFEST_NAME = 'manifest.json';

/** Being written, or being removed. */
export const TEMPORARY_PREFIX = 'tmp-';

/** No run's name starts with a dot. */
export const DELETED_PREFIX = '.deleted-';

/** Lists in a terminal stay in order up to 10^12 steps; more digits are legal. */
const STEP_DIGITS = 12;
const STEP_DIRECTORY = /^step-(none|\d{12,16})-([1-9]\d{0,14})$/;

/** A checkpoint's directory. The one with the highest sequence is the newest, whatever its step. */
export interface CheckpointDirectory {
  path: string;
  step: number | undefined;
  /** Counts the checkpoints of a run: 1, 2 … */
  sequence: number;
}

export function checkpointDirectory(
  runDirectory: string,
  step: number | undefined,
  sequence: number,
): CheckpointDirectory {
  const digits = step === undefined ? 'none' : String(step).padStart(STEP_DIGITS, '0');
  return { path: join(runDirectory, `step-${digits}-${sequence}`), step, sequence };
}

/**
 * The directory of a run's checkpoints, which need not be there. @throws ShadowkeepError INVALID_NAME; StorageError
 * UNSAFE_PATH
 */
export async function runDirectory(dataDir: string, run: string): Promise<string> {
  checkRunName(run);
  const path = join(await resolveDataDir(dataDir), run);
  const found = await lookAt(path);
  if (found === undefined || found.isDirectory()) return path;
  throw new StorageError('UNSAFE_PATH', path, `${path} is a link or a file, it must be a directory`);
}

/** The checkpoints of a run, newest first. A run that is not there has none. */
export async function listCheckpoints(runDirectory: string): Promise<CheckpointDirectory[]> {
  const checkpoints = (await listDirectory(runDirectory)).flatMap((entry) => {
    const [, step, sequence] = STEP_DIRECTORY.exec(entry.name) ?? [];
    if (step === undefined) return [];
    const found = checkpointDirectory(runDirectory, step === 'none' ? undefined : Number(step), Number(sequence));
    return basename(found.path) === entry.name ? [found] : [];
  });
  return checkpoints.sort((a, b) => b.sequence - a.sequence);
}

/**
 * Names of the runs that have a checkpoint in `dataDir`, sorted. A link named like a run is one of them, so that
 * opening it says what is wrong.
 */
export async function listRuns(dataDir: string): Promise<string[]> {
  const runs: string[] = [];
  for (const entry of await listDirectory(dataDir)) {
    if (!isRunName(entry.name)) continue;
    const holdsRun = entry.isDirectory() && (await listCheckpoints(join(dataDir, entry.name))).length > 0;
    if (holdsRun || entry.isSymbolicLink()) runs.push(entry.name);
  }
  return runs.sort();
}

/** The entries of a directory; of one that is not there, none. */
export async function listDirectory(path: string): Promise<Dirent[]> {
  try {
    return await readdir(path, { withFileTypes: true });
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw storageError(error, 'list', path);
  }
}

/** The data directory may itself be a link, a run in it may not. */
async function resolveDataDir(dataDir: string): Promise<string> {
  try {
    return await realpath(dataDir);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return dataDir;
    throw storageError(error, 'resolve', dataDir);
  }
}

function isRunName(name: string): boolean {
  try {
    checkRunName(name);
    return true;
  } catch {
    return false;
  }
}

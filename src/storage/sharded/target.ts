import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { lookAt } from '../directory.js';
import { StorageError, storageError } from '../errors.js';
import { EXTENSION, type ShadowPlan } from './plan.js';

/** Where a model goes. */
export interface ShadowTarget {
  directory: string;
  /** "model" in `model.safetensors`. */
  stem: string;
}

/** What loaders of a whole directory look for. */
const DIRECTORY_STEM = 'model';

/** @param path a file that ends in .safetensors, or a directory: there already, or named with a final slash */
export async function resolveTarget(path: string): Promise<ShadowTarget> {
  const absolute = resolve(path);
  if (path.endsWith('/') || (await isDirectory(absolute))) return { directory: absolute, stem: DIRECTORY_STEM };
  const stem = basename(absolute, EXTENSION);
  if (stem !== basename(absolute)) return { directory: dirname(absolute), stem };
  const message = `${path} is no directory and does not end in ${EXTENSION} (a new directory's name ends in /)`;
  throw new StorageError('INVALID_INPUT', path, message);
}

/** Refuses what would replace a file, or would leave one that loaders take for this model. */
export async function refuseExisting(target: ShadowTarget, plan: ShadowPlan): Promise<void> {
  const index = plan.indexName === undefined ? [] : [plan.indexName];
  for (const name of [...plan.files.map((file) => file.name), ...index, plan.rivalName]) {
    const path = join(target.directory, name);
    if ((await lookAt(path)) !== undefined) throw new StorageError('EXISTS', path, `${path} exists already`);
  }
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    const failure = storageError(error, 'look at', path);
    if (failure.code === 'NOT_FOUND') return false;
    throw failure;
  }
}

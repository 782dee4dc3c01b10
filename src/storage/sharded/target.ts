import { readdir, readFile, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { lookAt } from '../directory.js';
import { StorageError, storageError } from '../errors.js';
import { EXTENSION, type ShadowPlan } from './plan.js';

/** The place where a model is written. */
export interface ShadowTarget {
  directory: string;
  /** "model" in `model.safetensors`. */
  stem: string;
}

/** The file names that each library's `from_pretrained` looks for in a directory. */
const STEMS = { transformers: 'model', diffusers: 'diffusion_pytorch_model' } as const;

/** The library whose file names are used in a directory. */
export type DirectoryLayout = keyof typeof STEMS;
export const DIRECTORY_LAYOUTS = Object.keys(STEMS) as DirectoryLayout[];

/** Far above any model's. */
const CONFIG_BYTES_MAX = 1 << 20;

/**
 * @param path a file that ends in .safetensors, or a directory: there already, or named with a final slash
 * @param layout default: what lies in the directory says it, and without that transformers
 */
export async function resolveTarget(path: string, layout?: DirectoryLayout): Promise<ShadowTarget> {
  const absolute = resolve(path);
  const isThere = await isDirectory(absolute);
  if (isThere || path.endsWith('/')) {
    const seen = layout ?? (isThere ? await seenLayout(absolute) : 'transformers');
    return { directory: absolute, stem: STEMS[seen] };
  }
  const stem = basename(absolute, EXTENSION);
  if (stem !== basename(absolute)) {
    if (layout === undefined) return { directory: dirname(absolute), stem };
    throw new StorageError('INVALID_INPUT', path, `${path} has a name of its own: a layout is for directories`);
  }
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

/** diffusers writes its version and class into a model's config; without a config its weights' name tells. */
async function seenLayout(directory: string): Promise<DirectoryLayout> {
  const config = await readConfig(join(directory, 'config.json'));
  if (config !== undefined)
    return '_diffusers_version' in config || '_class_name' in config ? 'diffusers' : 'transformers';
  const names = await readdir(directory).catch((error) => {
    throw storageError(error, 'list', directory);
  });
  const has = (stem: string) => names.some((name) => name.startsWith(`${stem}.`) || name.startsWith(`${stem}-0`));
  return has(STEMS.diffusers) && !has(STEMS.transformers) ? 'diffusers' : 'transformers';
}

/** The object in a model's config, or undefined where there is none that can be read. */
async function readConfig(path: string): Promise<object | undefined> {
  try {
    if ((await stat(path)).size > CONFIG_BYTES_MAX) return undefined;
    const config: unknown = JSON.parse(await readFile(path, 'utf8'));
    return typeof config === 'object' && config !== null ? config : undefined;
  } catch {
    return undefined;
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

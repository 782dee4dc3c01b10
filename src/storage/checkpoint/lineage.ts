import { join } from 'node:path';
import { writeFileAtomic } from '../atomic-file.js';
import { lookAt, PRIVATE_FILE_MODE } from '../directory.js';
import { openToRead, readExactly } from '../pieces.js';
import { runDirectory } from './layout.js';
import { anything, object, readFields, text } from './saved-fields.js';
import { damagedFile, encodeSealed, parseSealed } from './sealed-json.js';

/*
 * RUN/lineage.json: which lives of the trainer have opened the run, written before the newest of them is told. A checkpoint
 * has it too, as of its own moment; the one with the higher generation counts.
 */

const LINEAGE_NAME = 'lineage.json';
const LINEAGE_FORMAT = 'shadowkeep-lineage';
const LINEAGE_VERSION = 1;

/** A thousand lives with ids of 128 characters take 150 KB. */
const LINEAGE_BYTES_MAX = 1 << 20;

const KEPT = object({ run: text(1), lineage: anything });

/**
 * Keeps a run's lineage, any JSON value, beside its checkpoints; it survives a power cut once the promise is fulfilled.
 *
 * @throws StorageError NOT_FOUND (the run has no files), NO_SPACE, UNSAFE_PATH, IO; StorageFatalError. What is left is the
 *   old one or the new one.
 */
export async function writeLineage(dataDir: string, run: string, lineage: unknown): Promise<void> {
  const path = join(await runDirectory(dataDir, run), LINEAGE_NAME);
  const bytes = encodeSealed({ format: LINEAGE_FORMAT, version: LINEAGE_VERSION, run, lineage });
  await writeFileAtomic(path, bytes, { overwrite: true, mode: PRIVATE_FILE_MODE });
}

/** A lineage that was kept, and the file that it is in. */
export interface KeptLineage {
  readonly path: string;
  readonly lineage: unknown;
}

/** The lineage that was kept last; undefined: none was. @throws StorageError DAMAGED, TOO_NEW, UNSAFE_PATH, IO */
export async function readLineage(dataDir: string, run: string): Promise<KeptLineage | undefined> {
  const path = join(await runDirectory(dataDir, run), LINEAGE_NAME);
  if ((await lookAt(path)) === undefined) return undefined;
  const handle = await openToRead(path, { followLinks: false });
  try {
    const { size } = await handle.stat();
    if (size > LINEAGE_BYTES_MAX) {
      throw damagedFile(path, `it has ${size} bytes, at most ${LINEAGE_BYTES_MAX} are allowed`);
    }
    const fields = parseSealed(await readExactly(handle, path, 0, size), path, LINEAGE_FORMAT, LINEAGE_VERSION);
    const kept = readFields(path, () => KEPT(fields, ''));
    if (kept.run !== run) throw damagedFile(path, `it belongs to run ${kept.run}`);
    return { path, lineage: kept.lineage };
  } finally {
    await handle.close();
  }
}

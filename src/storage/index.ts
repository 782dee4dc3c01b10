export { listRuns } from './checkpoint/layout.js';
export { readLineage, writeLineage } from './checkpoint/lineage.js';
export { type CheckpointPartReader, type OpenedCheckpoint, openCheckpoint } from './checkpoint/open.js';
export { deleteRunFiles, removeDeleted } from './checkpoint/remove.js';
export {
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
} from './checkpoint/saved-fields.js';
export { damagedFile } from './checkpoint/sealed-json.js';
export { type CheckpointContent, type CheckpointPart, writeCheckpoint } from './checkpoint/write.js';
export { type DataDirLock, lockDataDir } from './data-dir-lock.js';
export { StorageError, StorageFatalError, systemReason } from './errors.js';
export { type DataDirState, probeDataDir } from './probe.js';
export type { SafetensorsFile } from './safetensors/format.js';
export { readSafetensorsHeader, SafetensorsReader } from './safetensors/reader.js';
export { createShadowFiles, type ShadowFilesResult } from './sharded/shadow-files.js';
export { DIRECTORY_LAYOUTS, type DirectoryLayout } from './sharded/target.js';

export { type AtomicFileOptions, type FileDigest, writeFileAtomic } from './atomic-file.js';
export { listRuns } from './checkpoint/layout.js';
export { readLineage, writeLineage } from './checkpoint/lineage.js';
export {
  type CheckpointPartReader,
  type OpenCheckpointOptions,
  type OpenedCheckpoint,
  openCheckpoint,
} from './checkpoint/open.js';
export { deleteRunFiles, removeDeleted } from './checkpoint/remove.js';
export {
  CHECKPOINTS_KEPT_MIN,
  type CheckpointContent,
  type CheckpointPart,
  type WrittenCheckpoint,
  writeCheckpoint,
} from './checkpoint/write.js';
export { type DataDirLock, lockDataDir } from './data-dir-lock.js';
export { StorageError, type StorageErrorCode, StorageFatalError, systemReason } from './errors.js';
export { type DataDirState, probeDataDir } from './probe.js';
export type { SafetensorsFile, SafetensorsTensor, TensorSpec } from './safetensors/format.js';
export { readSafetensorsHeader, SafetensorsReader } from './safetensors/reader.js';
export { SafetensorsWriter, type SafetensorsWriterOptions } from './safetensors/writer.js';
export { SHARD_BYTES_MAX } from './sharded/plan.js';
export {
  createShadowFiles,
  ShadowFiles,
  type ShadowFilesOptions,
  type ShadowFilesResult,
} from './sharded/shadow-files.js';
export { DIRECTORY_LAYOUTS, type DirectoryLayout } from './sharded/target.js';

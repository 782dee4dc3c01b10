export { planCombination } from './combine.js';
export { fitProfiles, type Profile, profileProduct } from './fit.js';
export { SnapshotKeeper, type SnapshotPlan } from './keeper.js';
export { Snapshot } from './snapshot.js';
export { allocateSnapshot, bytesOf, checkSnapshotBytes, type SnapshotsSpec } from './snapshots.js';

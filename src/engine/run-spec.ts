import type { AverageSpec } from './averages/index.js';
import type { StepDigest } from './fold/digest.js';
import type { NonFinitePolicy } from './fold/non-finite.js';
import type { Layout } from './layout/layout.js';
import type { TensorList } from './layout/tensor-spec.js';
import type { LineageState } from './lineage.js';
import type { Lease } from './memory/ledger.js';
import type { Snapshot, SnapshotsSpec } from './post-hoc/index.js';
import type { AverageState, Reader } from './versions/version.js';

/** Says which older versions are kept: those whose step is a multiple of `everySteps`, the newest `countMax` of them. */
export interface RetentionSpec {
  readonly everySteps: number;
  readonly countMax: number;
}

/** What a run is opened with. Its averages and its retention can change afterwards, nothing else can. */
export interface RunSpec<Tensors extends TensorList = TensorList> {
  readonly name: string;
  readonly tensors: Tensors;
  readonly averages: readonly AverageSpec[];
  readonly nonFinite: NonFinitePolicy;
  /** Undefined: no snapshots are kept. */
  readonly snapshots: SnapshotsSpec | undefined;
  /** Undefined: no older version is kept. */
  readonly retain: RetentionSpec | undefined;
}

/**
 * What OpenRun says of a run. A field that it leaves out is the default for a new run, and fits any value of an existing
 * one.
 */
export type RunRequest = Omit<RunSpec, 'nonFinite' | 'snapshots'> & {
  readonly nonFinite: NonFinitePolicy | undefined;
  readonly snapshots: SnapshotsSpec | undefined;
};

/** The life of the trainer that opens a run, and the step where the trainer is. */
export interface TrainerRequest {
  /** The incarnation of the trainer. Empty: the trainer takes part in the present generation. */
  readonly incarnation: string;
  /** Number of processes that push; 0: as many as in the present generation. */
  readonly writers: number;
  /** The trainer goes on from the newest retained version at or below this step. */
  readonly resumeStep: number | undefined;
  /** The step that the trainer has restored; 0: the training begins. */
  readonly trainerStep: number | undefined;
}

/**
 * Waits for a read to end, for as long as a trainer may wait for it: where the ledger has no room for copies of the pages
 * that readers hold, each step would end every read otherwise.
 */
export type ReaderPatience = (reader: Reader) => Promise<void>;

export interface RunOptions {
  /** Undefined: no trainer waits for a reader. */
  readonly patience?: ReaderPatience;
  /** Never the same twice for readers of one name: a resumed read goes on in the version that it names. */
  readonly nextVersionId?: () => number;
  /** The layout of the spec's tensors, where they are placed already. */
  readonly layout?: Layout;
  /** Reserves what the layout and the averages' patterns take. */
  readonly lease?: Lease;
  /** Never the same twice, of whichever run: what a fenced trainer holds is of no use in any other. */
  readonly nextGeneration?: () => number;
  /** The averages of a run that is restored, where some were added or removed. */
  readonly averages?: readonly AverageSpec[];
  /** These have their defaults where they are used; tests make them small to have many pages, arenas and slices. */
  readonly pageBytesMax?: number;
  readonly arenaBytesMax?: number;
  readonly yieldElements?: number;
}

/** What is kept of a run beside its specs and its planes. */
export interface RunState extends LineageState {
  readonly step: number | undefined;
  /** The newest step after `step` that was rejected or dropped. */
  readonly answeredStep: number | undefined;
  /** The state of each present average, in order. */
  readonly averages: readonly AverageState[];
  /** The present cadence, where snapshots are kept. */
  readonly snapshotsEverySteps: number | undefined;
  readonly snapshots: readonly Pick<Snapshot, 'average' | 'gamma' | 'step' | 'time'>[];
  readonly digests: readonly StepDigest[];
}

export interface RunMemory {
  readonly shadowBytes: number;
  readonly stagingBytes: number;
  readonly snapshotBytes: number;
  readonly pinnedBytes: number;
  readonly freeBytes: number;
  /** Memory of the layout's columns and of the averages' patterns. */
  readonly layoutBytes: number;
}

/** What became of a step. */
export interface CommitOutcome {
  readonly state: 'COMMITTED' | 'ALREADY_COMMITTED' | 'SKIPPED' | 'REJECTED' | 'DROPPED';
  /** Says what was not finite in the step, or which writer has lost it; empty otherwise. */
  readonly detail: string;
  /** The writer that has lost a step that was dropped. */
  readonly lostBy?: number;
}

import { assert, DTYPE_BYTES, quote } from '../../common/index.js';
import {
  copiedTensorsOf,
  type PlacedTensor,
  type Plane,
  type Run,
  type RunTable,
  readElements,
  tensorsOf,
  type Version,
  writeElements,
} from '../../engine/index.js';
import {
  type CheckpointContent,
  type CheckpointPart,
  type CheckpointPartReader,
  damagedFile,
  type OpenedCheckpoint,
} from '../../storage/index.js';
import { averageMessage, retentionMessage, snapshotsMessage, tensorMessage } from '../messages/index.js';
import { readSavedOpenRun } from './saved-open-run.js';
import { readSavedRun, type SavedRun } from './saved-run.js';

/*
 * Writes and restores a run on disk. A checkpoint has one part per table, in the table's own dtype (`average-0`,
 * `average-1` …, `copied`, `snapshot-0` …). The state in its manifest holds the request that opened the run, the averages
 * that the run has now, and their states.
 */

/** Bytes that are moved between the arenas and a file at a time. */
const PIECE_BYTES = 1 << 20;

/** A table of a version with its tensors, which one part of a checkpoint holds. */
interface Part {
  readonly name: string;
  readonly plane: Plane;
  readonly table: Version['copied']['table'];
  /** The tensors of the table, in the order of the layout. */
  readonly tensors: readonly PlacedTensor[];
}

/** Called before each piece is read from the pages of a version. What it throws ends the writing. */
export type BeforePiece = (pieceBytes: number) => void;

/**
 * Describes the head of a run as storage writes it. Until it is written, no commit may run or a reader must hold the
 * version, which \`beforePiece\` checks.
 */
export function checkpointContent(run: Run, beforePiece: BeforePiece = () => undefined): CheckpointContent {
  const { name, tensors, averages, nonFinite, snapshots } = run.spec;
  const { retain } = run;
  const open = {
    run: name,
    tensors: Array.from(tensors, tensorMessage),
    averages: averages.map(averageMessage),
    non_finite: nonFinite,
    ...(snapshots === undefined ? {} : { snapshots: snapshotsMessage(snapshots) }),
    ...(retain === undefined ? {} : { retain: retentionMessage(retain) }),
  };
  const saved: SavedRun = { open, averages: run.averages.map(averageMessage), state: run.state };
  return { step: run.committedStep, state: saved, parts: partsOf(run).map((part) => toFile(part, beforePiece)) };
}

/**
 * Restores the run that a checkpoint holds into the table of runs. Throws MEMORY_EXHAUSTED, and StorageError DAMAGED or
 * TOO_NEW when the checkpoint does not fit its own state.
 */
export async function restoreRun(table: RunTable, name: string, checkpoint: OpenedCheckpoint): Promise<Run> {
  const { path } = checkpoint;
  const saved = readSavedRun(checkpoint.state, checkpoint.step, path);
  const { spec, averages } = readSavedOpenRun(saved, name, path);
  const { run } = table.open(spec, averages);
  run.restore(saved.state);
  const parts = partsOf(run);
  checkParts(parts, checkpoint);
  for (const [index, part] of checkpoint.parts.entries()) await restorePart(parts[index], part);
  return run;
}

/** Throws DAMAGED unless the checkpoint's parts hold the tensors that its state declares, in the same order. */
function checkParts(parts: readonly Part[], { parts: files, path }: OpenedCheckpoint): void {
  const expected = parts.map((part) => toFile(part)).flatMap(linesOf);
  const found = files.flatMap(linesOf);
  const index = expected.findIndex((line, at) => line !== found[at]);
  if (index < 0 && expected.length === found.length) return;
  const at = index < 0 ? expected.length : index;
  const problem = `it has ${found[at] ?? 'nothing more'} where its state has ${expected[at] ?? 'nothing more'}`;
  throw damagedFile(path, problem);
}

function linesOf({ name, tensors }: Pick<CheckpointPart, 'name' | 'tensors'>): string[] {
  return [`the part ${name}`, ...tensors.map((tensor) => `${quote(tensor.name)} ${tensor.dtype} [${tensor.shape}]`)];
}

function partsOf({ head, layout }: Run): Part[] {
  const { shadows, copied, snapshots } = head;
  // Once for all parts: a table makes an object anew at each call.
  const all = [...layout.tensors];
  const pick = (indices: readonly number[]): PlacedTensor[] => indices.map((index) => all[index]!);
  const averages = shadows.map(({ spec, plane, table }, index) => {
    return { name: `average-${index}`, plane, table, tensors: pick(tensorsOf(layout, spec)) };
  });
  const kept = snapshots.map(({ average, plane, table }, index) => {
    const spec = shadows.find((shadow) => shadow.spec.name === average)?.spec;
    assert(spec !== undefined, 'a snapshot is of an average of the run');
    return { name: `snapshot-${index}`, plane, table, tensors: pick(tensorsOf(layout, spec)) };
  });
  return [...averages, { name: 'copied', ...copied, tensors: pick(copiedTensorsOf(layout)) }, ...kept];
}

function toFile(part: Part, beforePiece: BeforePiece = () => undefined): CheckpointPart {
  const { name, plane, tensors } = part;
  return {
    name,
    tensors: tensors.map((tensor) => ({ name: tensor.name, dtype: plane.dtype ?? tensor.dtype, shape: tensor.shape })),
    bytes: bytesOf(part, beforePiece),
  };
}

/** Length of a tensor in a part, bytes, without padding. */
function lengthIn({ plane }: Part, { count, dtype }: PlacedTensor): number {
  return count * DTYPE_BYTES[plane.dtype ?? dtype];
}

function* bytesOf(part: Part, beforePiece: BeforePiece): Generator<Uint8Array> {
  const { plane, table, tensors } = part;
  const piece = new Uint8Array(PIECE_BYTES);
  for (const tensor of tensors) {
    const bytes = lengthIn(part, tensor);
    for (let offset = 0; offset < bytes; offset += PIECE_BYTES) {
      const target = piece.subarray(0, Math.min(PIECE_BYTES, bytes - offset));
      beforePiece(target.length);
      readElements(table, plane, tensor.flat + offset / plane.elementBytes, plane.dtype, target);
      yield target;
    }
  }
}

/** Writes the bytes of a checkpoint's part into its table. `checkParts` has found both to have the same tensors. */
async function restorePart(part: Part | undefined, file: CheckpointPartReader): Promise<void> {
  assert(part !== undefined && file.name === part.name, `part ${file.name} is that of its table`);
  const { plane, table, tensors } = part;
  let index = 0;
  let offset = 0;
  for await (const piece of file.read()) {
    for (let done = 0; done < piece.length; ) {
      const tensor = tensors[index];
      assert(tensor !== undefined, `part ${file.name} holds no more than its tensors`);
      const bytes = lengthIn(part, tensor);
      const count = Math.min(piece.length - done, bytes - offset);
      const flat = tensor.flat + offset / plane.elementBytes;
      if (count > 0) writeElements(table, plane, flat, piece.subarray(done, done + count));
      done += count;
      offset += count;
      if (offset === bytes) {
        index += 1;
        offset = 0;
      }
    }
  }
}

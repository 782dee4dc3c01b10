import { assert, DTYPE_BYTES } from '../common/index.js';
import {
  type PlacedTensor,
  planRead,
  type Run,
  type RunState,
  type RunTable,
  readTensor,
  writeTensor,
} from '../engine/index.js';
import type { CheckpointContent, CheckpointPart, CheckpointPartReader, OpenedCheckpoint } from '../storage/index.js';
import { averageMessage, completeOpenRun, tensorMessage, validateOpenRun } from '../wire/index.js';

/*
 * A run on disk: one part per plane, in the plane's own precision (`average-0`, `average-1` …, `copied`), and in the
 * manifest's state the request that opens the run and what the averages have been through.
 */
interface SavedRun {
  readonly open: object;
  readonly state: RunState;
}

/** Bytes moved between the arenas and a file at a time. */
const PIECE_BYTES = 1 << 20;

/** The head of a run, as storage writes it. No commit may run until it is written. */
export function checkpointContent(run: Run): CheckpointContent {
  const { name, tensors, averages } = run.spec;
  const open = { run: name, tensors: tensors.map(tensorMessage), averages: averages.map(averageMessage) };
  const saved: SavedRun = { open, state: run.state };
  return { step: run.committedStep, state: saved, parts: run.planes.map((_, plane) => partOf(run, plane)) };
}

/** The run that a checkpoint holds, restored into the table. Throws when the checkpoint does not fit its own state. */
export async function restoreRun(table: RunTable, name: string, checkpoint: OpenedCheckpoint): Promise<Run> {
  const saved = checkpoint.state as SavedRun;
  const { spec } = validateOpenRun(completeOpenRun(saved.open));
  if (spec.name !== name)
    throw new Error(`${checkpoint.path} is of run ${spec.name}, it lies in the folder of ${name}`);
  const { run } = table.open(spec);
  for (const [plane, part] of checkpoint.parts.entries()) await restorePart(run, plane, part);
  run.restore(saved.state);
  return run;
}

function partOf(run: Run, plane: number): CheckpointPart {
  const precision = run.planes[plane]?.precision;
  return {
    name: partName(run, plane),
    tensors: tensorsOf(run, plane).map(({ name, dtype, shape }) => ({ name, dtype: precision ?? dtype, shape })),
    bytes: bytesOf(run, plane),
  };
}

function partName(run: Run, plane: number): string {
  return run.planes[plane]?.precision === undefined ? 'copied' : `average-${plane}`;
}

/** The tensors that live in a plane, in the order of the layout. */
function tensorsOf(run: Run, plane: number): PlacedTensor[] {
  const policy = run.planes[plane]?.precision === undefined ? 'COPY' : 'AVERAGE';
  return run.layout.tensors.filter((tensor) => tensor.policy === policy);
}

function* bytesOf(run: Run, plane: number): Generator<Uint8Array> {
  const average = run.planes[plane]?.precision === undefined ? 0 : plane;
  const names = new Set(tensorsOf(run, plane).map(({ name }) => name));
  const plan = planRead(run.layout, run.planes, average, (name) => names.has(name), undefined);
  const piece = new Uint8Array(PIECE_BYTES);
  for (const entry of plan.tensors) {
    for (let offset = 0; offset < entry.bytes; offset += PIECE_BYTES) {
      const target = piece.subarray(0, Math.min(PIECE_BYTES, entry.bytes - offset));
      readTensor(run.head, plan, entry, offset, target);
      yield target;
    }
  }
}

/** Puts the packed bytes of a part back; the checkpoint's tensors were declared by the same state. */
async function restorePart(run: Run, planeIndex: number, part: CheckpointPartReader): Promise<void> {
  const plane = run.planes[planeIndex];
  const tensors = tensorsOf(run, planeIndex);
  assert(plane !== undefined && part.name === partName(run, planeIndex), `part ${part.name} is that of its plane`);
  const bytesOfTensor = (tensor: PlacedTensor): number => tensor.count * DTYPE_BYTES[plane.precision ?? tensor.dtype];
  let index = 0;
  let offset = 0;
  for await (const piece of part.read()) {
    for (let done = 0; done < piece.length; ) {
      const tensor = tensors[index];
      assert(tensor !== undefined, `part ${part.name} holds no more than its tensors`);
      const count = Math.min(piece.length - done, bytesOfTensor(tensor) - offset);
      const flat = tensor.flat + offset / plane.elementBytes;
      if (count > 0) writeTensor(run.head, plane, planeIndex, flat, piece.subarray(done, done + count));
      done += count;
      offset += count;
      if (offset === bytesOfTensor(tensor)) {
        index += 1;
        offset = 0;
      }
    }
  }
}

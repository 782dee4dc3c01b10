// Some writers of one trainer, all in this process. Each has a row-wise part of every tensor.
import { averageEma, toAverageMessage } from '../../dist/client/averages/index.js';
import { shadowWeightsDefinition } from '../../dist/protocol/index.js';
import { GrpcConnection } from '../harness/grpc-connection.mjs';
import { RawWriter } from '../harness/raw-writer.mjs';
import { equalShapes, mixedShapes, rowShards, spaceBytes } from '../harness/sharded-models.mjs';
import { boxFields, openMessage } from '../harness/update-messages.mjs';
import { now, serve } from './commands.mjs';

/** Length of the block that the writers send over and over: more than a cache holds, and less than a model. */
const BLOCK_BYTES = 64 << 20;

const { requestSerialize, responseDeserialize } = shadowWeightsDefinition.OpenRun;

let connections = [];
let writers = [];
let block;
let nextStep = 1;

/**
 * Opens a run of `writers` writers and encodes the declarations of those with the numbers `first` to `last` - 1, which
 * this process holds. A single writer declares nothing, because it sends the whole layout.
 */
async function prepare({ target, run, model, writers: count, first, last, connections: connectionCount }) {
  const shapes = shapesOf(model);
  connections = await Promise.all(
    Array.from({ length: connectionCount }, () => new GrpcConnection(target).connected()),
  );
  const { generation, limits } = await openRun(run, shapes, count);
  const parts = Array.from({ length: last - first }, (_, index) => partOf(shapes, first + index, count));
  writers = parts.map(({ writer, boxes, stepBytes }, index) => {
    const opening = {
      openMessage: openMessage(run, generation, writer, boxes),
      stepBytes,
      chunkBytes: limits.chunk_bytes,
    };
    return new RawWriter(connections[index % connectionCount], opening);
  });
  block = randomBlock(Math.min(BLOCK_BYTES, Math.max(...parts.map(({ stepBytes }) => stepBytes))));
  return { open_bytes: parts.reduce((sum, { boxes }) => sum + boxes.length, 0) };
}

/** The boxes that a writer declares, and the length of its steps. */
function partOf(shapes, writer, count) {
  if (count === 1) return { writer, boxes: Buffer.alloc(0), stepBytes: spaceBytes(shapes) };
  const boxes = rowShards(shapes, writer, count);
  return { writer, boxes: boxFields(boxes), stepBytes: spaceBytes(boxes.map(({ extent }) => extent)) };
}

function shapesOf({ total_bytes, small_count, count, shape }) {
  return shape === undefined ? mixedShapes(total_bytes, small_count) : equalShapes(count, shape);
}

/** Opens the run. The request is the same in all processes of this trainer. */
async function openRun(run, shapes, count) {
  const tensors = shapes.map((shape, index) => ({ name: `blocks.${index}.weight`, dtype: 'F32', shape }));
  const averages = [toAverageMessage(averageEma('ema', { decay: 0.999, start: 'FIRST' }))];
  const request = requestSerialize({ run, tensors, averages, writers: count, incarnation: 'bench' });
  return responseDeserialize(await connections[0].unary('OpenRun', request));
}

/** A block of random float32 numbers from -1 to 1. */
function randomBlock(bytes) {
  return Buffer.from(Float32Array.from({ length: bytes / 4 }, () => 2 * Math.random() - 1).buffer);
}

/** Declares the boxes of all writers. Returns when that began and when the last writer was open. */
async function open() {
  const began = now();
  await Promise.all(writers.map((writer) => writer.open()));
  return { began, ended: now() };
}

/**
 * Pushes `count` steps at full speed. Returns when that began and when the last step was acknowledged to all writers.
 */
async function push({ count }) {
  return await pushWhile((step) => step < nextStep + count);
}

/** Pushes for `seconds`, and at least one step. Only for a trainer with one writer. */
async function pushFor({ seconds }) {
  const until = now() + seconds;
  return await pushWhile((step) => step === nextStep || now() < until);
}

async function pushWhile(goesOn) {
  const began = now();
  const [steps] = await Promise.all(writers.map((writer) => writer.push(nextStep, block, goesOn)));
  nextStep += steps;
  return { began, ended: now(), steps };
}

await serve({ prepare, open, push, push_for: pushFor });

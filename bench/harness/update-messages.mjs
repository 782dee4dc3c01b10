import { prefixed } from './grpc-connection.mjs';

/*
 * Writes the messages of an Update stream by hand (proto/shadowkeep/v1/types.proto), with gRPC's prefix:
 *
 *   UpdateRequest   0x0a open | 0x12 chunk | 0x1a commit, each with varint(its length)
 *   UpdateOpen      0x0a run | 0x10 generation | 0x18 writer | 0x22 box, any number of them
 *   Box             0x08 tensor | 0x12 packed offset | 0x1a packed extent
 *   Chunk           0x08 step | 0x10 offset | 0x7a data
 *   Commit          0x08 step | 0x10 bytes
 */

/** The bytes of a number as protobuf writes it. `value` must be a safe integer. */
function varint(value) {
  const bytes = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return [...bytes, rest];
}

/** @returns where the number ends. */
function writeVarint(target, at, value) {
  let next = at;
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) target[next++] = (rest % 128) + 128;
  target[next++] = rest;
  return next;
}

/** Most bytes of the tags and lengths of a box, and of a number in it. */
const BOX_HEAD_BYTES_MAX = 12;
const VARINT_BYTES_MAX = 8;

/** The bytes of the boxes of an UpdateOpen, in one buffer: the largest trainer has ten million boxes. */
export function boxFields(boxes) {
  const numbers = boxes.reduce((sum, { offset, extent }) => sum + 1 + offset.length + extent.length, 0);
  const target = Buffer.allocUnsafe(boxes.length * BOX_HEAD_BYTES_MAX + numbers * VARINT_BYTES_MAX);
  let at = 0;
  for (const { tensor, offset, extent } of boxes) {
    target[at] = 0x22;
    const begin = at + 2;
    target[begin] = 0x08;
    at = writePacked(target, writeVarint(target, begin + 1, tensor), 0x12, offset);
    at = writePacked(target, at, 0x1a, extent);
    target[begin - 1] = shortLength(at - begin);
  }
  return Buffer.from(target.subarray(0, at));
}

function writePacked(target, at, tag, numbers) {
  target[at] = tag;
  const begin = at + 2;
  let end = begin;
  for (const number of numbers) end = writeVarint(target, end, number);
  target[begin - 1] = shortLength(end - begin);
  return end;
}

/** Checks that the varint of a length has one byte, as it has for boxes of up to four dimensions. */
function shortLength(length) {
  if (length >= 128) throw new Error(`a box of ${length} bytes`);
  return length;
}

/** An opening message. `boxes` are the bytes that `boxFields` returns. */
export function openMessage(run, generation, writer, boxes) {
  const name = Buffer.from(run);
  const head = [0x0a, ...varint(name.length), ...name, 0x10, ...varint(generation), 0x18, ...varint(writer)];
  return prefixed(Buffer.concat([Buffer.from([0x0a, ...varint(head.length + boxes.length), ...head]), boxes]));
}

/** A chunk's message up to its data, which the caller writes after it. */
export function chunkHead(step, offset, dataBytes) {
  const inner = [0x08, ...varint(step), 0x10, ...varint(offset), 0x7a, ...varint(dataBytes)];
  return prefixed(Buffer.from([0x12, ...varint(inner.length + dataBytes), ...inner]), dataBytes);
}

export function commitMessage(step, bytes) {
  const inner = [0x08, ...varint(step), 0x10, ...varint(bytes)];
  return prefixed(Buffer.from([0x1a, inner.length, ...inner]));
}

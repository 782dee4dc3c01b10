import { quote, ShadowkeepError } from '../common/index.js';
import type { StepLayout } from './step-layout.js';
import type { BoxBytes, StepPart, TensorBytes, TensorReader } from './types.js';

/** The bytes of one part of a step, which can be read several times as long as nobody changes them. */
export interface PartSource {
  /** Length of the part, bytes, without the gap after it. */
  readonly bytes: number;
  read(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
}

/** The forms in which a trainer can give the bytes of a step. */
export type StepData = TensorBytes | BoxBytes | TensorReader;

/**
 * One source for each part of the step, in the order of its byte space. Throws before a byte is sent: INVALID_TENSOR
 * when data is missing, has a wrong length or belongs to no part, and INVALID_FIELD when tensors are given by name
 * although boxes were declared, or the other way round.
 */
export function sourcesOf(data: StepData, layout: StepLayout, isFirst: boolean): PartSource[] {
  const sent = isFirst ? [...layout.eachStep, ...layout.once] : layout.eachStep;
  if (typeof data === 'function') return sent.map((part) => readerSource(part, data));
  const views = isBoxBytes(data) ? viewBoxes(sent, data, layout) : viewTensors(sent, data, layout);
  return views.map((view) => ({ bytes: view.length, read: () => [view] }));
}

/** The pieces of a part without its first `bytes` bytes. */
export async function* skipBytes(pieces: ReturnType<PartSource['read']>, bytes: number): AsyncGenerator<Uint8Array> {
  let left = bytes;
  for await (const piece of pieces) {
    if (left < piece.length) yield left === 0 ? piece : piece.subarray(left);
    left = Math.max(0, left - piece.length);
  }
}

function isBoxBytes(data: TensorBytes | BoxBytes): data is BoxBytes {
  return Array.isArray(data);
}

function viewBoxes(sent: readonly StepPart[], given: BoxBytes, { declared }: StepLayout): Uint8Array[] {
  if (declared === undefined) {
    throw unusable('an array of views is for a writer that has declared boxes: give the tensors by name');
  }
  if (given.length !== declared.length) {
    throw unusable(`the array has ${given.length} entries, this writer has declared ${declared.length} boxes`);
  }
  declared.forEach((part, index) => {
    const view = given[index];
    if (view !== undefined) checkLength(part, view.byteLength);
  });
  return sent.map((part) => {
    const view = given[part.boxIndex!];
    if (view === undefined && part.bytes > 0) throw invalid(part, 'is missing');
    return view === undefined ? new Uint8Array() : bytesOf(view);
  });
}

function viewTensors(
  sent: readonly StepPart[],
  given: TensorBytes,
  { declared, eachStep, once }: StepLayout,
): Uint8Array[] {
  if (declared !== undefined) {
    throw unusable(`this writer has declared boxes: give an array of ${declared.length} views, one for each`);
  }
  const byName: ReadonlyMap<string, ArrayBufferView> =
    given instanceof Map ? given : new Map(Object.entries(given as Record<string, ArrayBufferView>));
  const views = sent.map((part) => {
    const view = byName.get(part.name);
    if (view === undefined) throw invalid(part, 'is missing');
    checkLength(part, view.byteLength);
    return bytesOf(view);
  });
  if (byName.size > sent.length) {
    const known = new Set([...eachStep, ...once].map(({ name }) => name));
    const unknown = [...byName.keys()].find((name) => !known.has(name));
    if (unknown !== undefined) {
      throw invalid({ name: unknown }, 'is not sent: the layout does not have it or ignores it');
    }
  }
  return views;
}

function readerSource(part: StepPart, reader: TensorReader): PartSource {
  return { bytes: part.bytes, read: () => readPart(part, reader) };
}

/** The pieces of one part from a reader. Throws INVALID_TENSOR unless they are as long as the part. */
async function* readPart(part: StepPart, reader: TensorReader): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const piece of reader(part)) {
    bytes += piece.length;
    if (bytes > part.bytes) checkLength(part, bytes);
    yield piece;
  }
  checkLength(part, bytes);
}

function bytesOf(view: ArrayBufferView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

function checkLength(part: StepPart, bytes: number): void {
  if (bytes === part.bytes) return;
  throw invalid(part, `has ${bytes} bytes, ${part.dtype} of shape [${part.shape.join(', ')}] needs ${part.bytes}`);
}

function invalid(part: Partial<StepPart> & { name: string }, problem: string): ShadowkeepError {
  const box = part.boxIndex === undefined ? '' : ` (boxes[${part.boxIndex}])`;
  return new ShadowkeepError('INVALID_TENSOR', `tensor ${quote(part.name)}${box} ${problem}`, {
    metadata: { tensor: part.name, ...(part.boxIndex === undefined ? {} : { box: part.boxIndex }) },
  });
}

function unusable(problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_FIELD', problem, { metadata: { field: 'tensors' } });
}

import { isDType, quote, RANK_MAX, roundUp } from '../../common/index.js';
import { StorageError } from '../errors.js';
import {
  DATA_ALIGNMENT_BYTES,
  HEADER_BYTES_MAX,
  HEADER_ENTRY_COUNT_MAX,
  LENGTH_FIELD_BYTES,
  METADATA_KEY,
  type TensorSpec,
  tensorBytes,
} from './format.js';
import { isWellFormed } from './json-scanner.js';

export interface EncodedHeader {
  /** The length field and the header, padded: what the file starts with. */
  bytes: Uint8Array;
  /** Length of the data that follows. */
  dataBytes: number;
}

/**
 * The head of a file that holds `tensors` in this order. What the strict reader would refuse is not written.
 *
 * @throws StorageError INVALID_INPUT for names, shapes or counts that the format or its bounds forbid
 */
export function encodeHeader(
  tensors: readonly TensorSpec[],
  metadata: Readonly<Record<string, string>>,
  path: string,
): EncodedHeader {
  const { entries, dataBytes } = encodeTensors(tensors, path);
  const strings = Object.entries(metadata);
  if (strings.length > 0) entries.unshift(`${JSON.stringify(METADATA_KEY)}:${encodeStrings(strings, path)}`);
  if (tensors.length + strings.length > HEADER_ENTRY_COUNT_MAX) {
    throw invalid(path, `${tensors.length + strings.length} entries, at most ${HEADER_ENTRY_COUNT_MAX} are allowed`);
  }
  return { bytes: frame(Buffer.from(`{${entries.join(',')}}`), path), dataBytes };
}

function encodeTensors(tensors: readonly TensorSpec[], path: string): { entries: string[]; dataBytes: number } {
  const names = new Set<string>([METADATA_KEY]);
  let end = 0;
  const entries = tensors.map((tensor) => {
    const { name, dtype, shape } = tensor;
    if (names.has(name)) throw invalid(path, `the tensor name ${quote(name)} is taken`);
    names.add(name);
    const begin = end;
    end += checkedBytes(tensor, path);
    if (!Number.isSafeInteger(end)) throw invalid(path, `the tensors up to ${quote(name)} have 2^53 bytes or more`);
    return `${encodeString(name, path)}:{"dtype":"${dtype}","shape":[${shape}],"data_offsets":[${begin},${end}]}`;
  });
  return { entries, dataBytes: end };
}

function checkedBytes(tensor: TensorSpec, path: string): number {
  const { name, dtype, shape } = tensor;
  if (!isDType(dtype)) throw invalid(path, `tensor ${quote(name)} has the unknown dtype ${quote(String(dtype))}`);
  const whole = shape.length <= RANK_MAX && shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0);
  const bytes = whole ? tensorBytes(tensor) : undefined;
  if (bytes === undefined) throw invalid(path, `tensor ${quote(name)} has the impossible shape [${shape}]`);
  return bytes;
}

function encodeStrings(strings: [string, string][], path: string): string {
  return `{${strings.map(([key, value]) => `${encodeString(key, path)}:${encodeString(value, path)}`).join(',')}}`;
}

function encodeString(value: string, path: string): string {
  if (!isWellFormed(value)) throw invalid(path, `${quote(value)} is not Unicode`);
  return JSON.stringify(value);
}

function frame(json: Uint8Array, path: string): Uint8Array {
  const headBytes = roundUp(LENGTH_FIELD_BYTES + json.length, DATA_ALIGNMENT_BYTES);
  const headerBytes = headBytes - LENGTH_FIELD_BYTES;
  if (headerBytes > HEADER_BYTES_MAX) {
    throw invalid(path, `a header of ${headerBytes} bytes, at most ${HEADER_BYTES_MAX} are allowed`);
  }
  const head = Buffer.alloc(headBytes, ' ');
  head.writeBigUInt64LE(BigInt(headerBytes));
  head.set(json, LENGTH_FIELD_BYTES);
  return head;
}

function invalid(path: string, problem: string): StorageError {
  return new StorageError('INVALID_INPUT', path, `cannot write ${path}: ${problem}`);
}

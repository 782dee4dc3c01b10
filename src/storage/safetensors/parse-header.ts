import { DTYPE_BYTES, type DType, isDType, quote, RANK_MAX } from '../../common/index.js';
import { StorageError } from '../errors.js';
import {
  HEADER_BYTES_MAX,
  HEADER_ENTRY_COUNT_MAX,
  LENGTH_FIELD_BYTES,
  METADATA_KEY,
  type SafetensorsFile,
  type SafetensorsTensor,
  tensorBytes,
} from './format.js';
import { JsonScanError, JsonScanner } from './json-scanner.js';

/** Bytes of the header, from the first LENGTH_FIELD_BYTES of a file of `fileBytes` bytes. */
export function parseHeaderLength(field: Uint8Array, path: string, fileBytes: number): number {
  const length = new DataView(field.buffer, field.byteOffset, LENGTH_FIELD_BYTES).getBigUint64(0, true);
  if (length > BigInt(HEADER_BYTES_MAX)) {
    throw invalid(path, `its header has ${length} bytes, at most ${HEADER_BYTES_MAX} are allowed`);
  }
  if (Number(length) > fileBytes - LENGTH_FIELD_BYTES) {
    throw invalid(path, `its header has ${length} bytes, but the file has ${fileBytes}`);
  }
  return Number(length);
}

/**
 * A header, checked in full before a byte of data is read: known dtypes, shapes that fit their bytes, tensors that
 * fill the data without a gap or an overlap.
 *
 * @param header the bytes after the length field
 * @throws StorageError INVALID_FILE
 */
export function parseHeader(header: Uint8Array, path: string, fileBytes: number): SafetensorsFile {
  const dataBegin = LENGTH_FIELD_BYTES + header.length;
  try {
    const { tensors, metadata } = scanHeader(decodeText(header));
    checkCoverage(tensors, fileBytes - dataBegin);
    return { path, dataBegin, fileBytes, tensors, metadata };
  } catch (error) {
    if (error instanceof JsonScanError) throw invalid(path, error.message);
    throw error;
  }
}

function decodeText(header: Uint8Array): string {
  if (header[0] !== '{'.charCodeAt(0)) throw new JsonScanError('the header does not start with {');
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header);
  } catch {
    throw new JsonScanError('the header is not UTF-8');
  }
}

function scanHeader(text: string) {
  const scanner = new JsonScanner(text);
  const tensors: SafetensorsTensor[] = [];
  const metadata = new Map<string, string>();
  const checkCount = () => {
    if (tensors.length + metadata.size < HEADER_ENTRY_COUNT_MAX) return;
    throw scanner.error(`more than ${HEADER_ENTRY_COUNT_MAX} entries`);
  };
  scanner.object((name) => {
    if (name !== METADATA_KEY) {
      checkCount();
      tensors.push(scanTensor(scanner, name));
      return;
    }
    scanner.object((key) => {
      checkCount();
      metadata.set(key, scanner.string());
    });
  });
  scanner.end();
  return { tensors, metadata };
}

function scanTensor(scanner: JsonScanner, name: string): SafetensorsTensor {
  let dtype: DType | undefined;
  let shape: number[] | undefined;
  let offsets: number[] | undefined;
  scanner.object((key) => {
    if (key === 'dtype') dtype = scanDType(scanner, name);
    else if (key === 'shape') shape = scanIntegers(scanner, RANK_MAX);
    else if (key === 'data_offsets') offsets = scanIntegers(scanner, 2);
    else throw scanner.error(`tensor ${quote(name)} has an unknown field ${quote(key)}`);
  });
  const [beginBytes, endBytes] = offsets ?? [];
  if (dtype === undefined || shape === undefined || beginBytes === undefined || endBytes === undefined) {
    throw scanner.error(`tensor ${quote(name)} needs a dtype, a shape and two data_offsets`);
  }
  return { name, dtype, shape, beginBytes, endBytes };
}

function scanDType(scanner: JsonScanner, name: string): DType {
  const dtype = scanner.string();
  if (isDType(dtype)) return dtype;
  const known = Object.keys(DTYPE_BYTES).join(', ');
  throw scanner.error(`tensor ${quote(name)} has the dtype ${quote(dtype)}, known are ${known}`);
}

function scanIntegers(scanner: JsonScanner, countMax: number): number[] {
  const values: number[] = [];
  scanner.array(() => {
    if (values.length === countMax) throw scanner.error(`more than ${countMax} numbers`);
    values.push(scanner.integer());
  });
  return values;
}

/** Sorts by position, then holds each tensor against its shape and the one before it. */
function checkCoverage(tensors: SafetensorsTensor[], dataBytes: number): void {
  tensors.sort((a, b) => a.beginBytes - b.beginBytes || a.endBytes - b.endBytes);
  let at = 0;
  for (const tensor of tensors) {
    const { name, dtype, shape, beginBytes, endBytes } = tensor;
    const place = `tensor ${quote(name)} lies at ${beginBytes} to ${endBytes}`;
    const bytes = tensorBytes(tensor);
    if (bytes === undefined) throw new JsonScanError(`tensor ${quote(name)} has too many elements: [${shape}]`);
    if (beginBytes !== at) throw new JsonScanError(`${place}, but the one before it ends at ${at}`);
    if (endBytes - beginBytes !== bytes) throw new JsonScanError(`${place}, but ${dtype}[${shape}] has ${bytes} bytes`);
    at = endBytes;
  }
  if (at !== dataBytes)
    throw new JsonScanError(`the tensors end at ${at}, but the file has ${dataBytes} bytes of data`);
}

function invalid(path: string, problem: string): StorageError {
  return new StorageError('INVALID_FILE', path, `${path} is not a valid safetensors file: ${problem}`);
}

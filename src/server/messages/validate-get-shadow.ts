import {
  CHUNK_BYTES,
  CHUNK_BYTES_MAX,
  CHUNK_CUT_BYTES,
  checkRunName,
  type FloatDType,
  isFloatDType,
  matchAll,
  type NamedList,
  PATTERN_COUNT_MAX,
  quote,
  WAIT_MS_MAX,
} from '../../common/index.js';
import type { BoxList } from '../../engine/index.js';
import type { GetShadowRequest__Output } from '../../protocol/index.js';
import { integer, invalidField, nonNegative } from './fields.js';
import { checkPattern } from './validate-policies.js';
import { validateWidth } from './validate-schedule.js';

/** A GetShadowRequest as `requestDecoder` decodes it: its boxes are beside the message, in columns. */
export type DecodedGetShadow = GetShadowRequest__Output & { readonly boxList?: BoxList };

export type VersionWish =
  | { readonly kind: 'latest' }
  | { readonly kind: 'step'; readonly step: number }
  | { readonly kind: 'min_step'; readonly step: number }
  | { readonly kind: 'resume'; readonly version: number; readonly offset: number };

export interface GetShadow {
  readonly run: string;
  /** The name of the average; empty for the run's only average. */
  readonly average: string;
  readonly wish: VersionWish;
  readonly waitMs: number;
  readonly names: readonly string[];
  /** The parts of tensors to read; undefined for whole tensors. Boxes are checked where the run's layout is known. */
  readonly boxes: BoxList | undefined;
  readonly dtype: FloatDType | undefined;
  readonly chunkBytes: number;
  readonly checksums: boolean;
  /** Exponent of the power function to make from snapshots; undefined for a read of an average. */
  readonly gamma: number | undefined;
}

export function validateGetShadow(request: DecodedGetShadow): GetShadow {
  checkRunName(request.run);
  if (request.boxList !== undefined && request.names.length > 0) {
    throw invalidField('names', 'and boxes exclude each other');
  }
  integer('names length', request.names.length, 0, PATTERN_COUNT_MAX);
  for (const [index, pattern] of request.names.entries()) {
    checkPattern(`names[${index}]`, pattern);
  }
  const { dtype } = request;
  if (dtype !== 'DTYPE_UNSPECIFIED' && !isFloatDType(dtype)) {
    throw invalidField('dtype', `must be F16, BF16, F32 or F64, got ${dtype}`);
  }
  return {
    run: request.run,
    average: request.average,
    wish: wishOf(request),
    waitMs: integer('wait_ms', request.wait_ms, 0, WAIT_MS_MAX),
    names: request.names,
    boxes: request.boxList,
    dtype: dtype === 'DTYPE_UNSPECIFIED' ? undefined : dtype,
    chunkBytes: chunkBytesOf(request.chunk_bytes),
    checksums: request.checksums,
    gamma: gammaOf(request),
  };
}

/**
 * The tensors of a layout whose names match the patterns of a read, by their index. Each pattern must match a tensor
 * for which `isServed` is true. Yields between slices. Throws INVALID_FIELD.
 */
export function* selectNames(
  patterns: readonly string[],
  tensors: NamedList,
  isServed: (index: number) => boolean,
): Generator<void, 'ALL' | ((index: number) => boolean)> {
  if (patterns.length === 0) return 'ALL';
  const hasMatched = new Uint8Array(patterns.length);
  const isWanted = new Uint8Array(tensors.length);
  yield* matchAll(patterns, tensors, 'names', (tensor, pattern) => {
    if (!isServed(tensor)) return;
    isWanted[tensor] = 1;
    hasMatched[pattern] = 1;
  });
  const idle = hasMatched.indexOf(0);
  if (idle >= 0) throw invalidField(`names[${idle}]`, `${quote(patterns[idle]!)} matches no tensor of the run`);
  return (index) => isWanted[index] === 1;
}

/** The exponent that a request asks for. Such a read combines several averages, so the request must name none. */
function gammaOf(request: GetShadowRequest__Output): number | undefined {
  if (request.width === undefined) return undefined;
  if (request.average !== '')
    throw invalidField('average', `must be empty with ${request.width}, got ${quote(request.average)}`);
  return validateWidth('', request, 'INVALID_FIELD');
}

function wishOf(request: GetShadowRequest__Output): VersionWish {
  switch (request.version) {
    case 'step':
      return { kind: 'step', step: nonNegative('step', request.step ?? Number.NaN) };
    case 'min_step':
      return { kind: 'min_step', step: nonNegative('min_step', request.min_step ?? Number.NaN) };
    case 'resume': {
      const version = nonNegative('resume.version', request.resume?.version ?? Number.NaN);
      const offset = nonNegative('resume.offset', request.resume?.offset ?? Number.NaN);
      return { kind: 'resume', version, offset: multipleOfCut('resume.offset', offset) };
    }
    default:
      return { kind: 'latest' };
  }
}

function chunkBytesOf(value: number): number {
  if (value === 0) return CHUNK_BYTES;
  return multipleOfCut('chunk_bytes', integer('chunk_bytes', value, CHUNK_CUT_BYTES, CHUNK_BYTES_MAX));
}

function multipleOfCut(field: string, value: number): number {
  if (value % CHUNK_CUT_BYTES !== 0)
    throw invalidField(field, `must be a multiple of ${CHUNK_CUT_BYTES}, got ${value}`);
  return value;
}

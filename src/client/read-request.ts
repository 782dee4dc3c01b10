import { CHUNK_BYTES, ShadowkeepError } from '../common/index.js';
import type { GetShadowRequest } from '../protocol/index.js';
import { boxMessage, placeBoxes } from './boxes.js';
import type { ReadOptions } from './read-types.js';
import type { TensorSpec } from './types.js';

/** The request of a read. `tensors` is the run's layout, which only a read with boxes needs. Throws INVALID_FIELD. */
export function toReadRequest(
  options: ReadOptions,
  tensors: readonly TensorSpec[],
  checksums: boolean,
): GetShadowRequest {
  const { step, minStep, sigmaRel, gamma, names = [], boxes = [] } = options;
  refuseBoth({ step, minStep });
  refuseBoth({ sigmaRel, gamma });
  if (names.length > 0 && boxes.length > 0) {
    throw new ShadowkeepError('INVALID_FIELD', 'names and boxes exclude each other', { metadata: { field: 'names' } });
  }
  return {
    run: options.run,
    average: options.average ?? '',
    ...(sigmaRel === undefined ? {} : { sigma_rel: sigmaRel }),
    ...(gamma === undefined ? {} : { gamma }),
    ...(step === undefined ? {} : { step }),
    ...(minStep === undefined ? {} : { min_step: minStep }),
    wait_ms: options.waitMs ?? 0,
    names: [...names],
    boxes: placeBoxes(boxes, tensors).map(boxMessage),
    dtype: options.dtype ?? 'DTYPE_UNSPECIFIED',
    chunk_bytes: CHUNK_BYTES,
    checksums,
  };
}

/** The request that goes on with a broken read of `version` from byte `offset` on. */
export function toResumeRequest(request: GetShadowRequest, version: number, offset: number): GetShadowRequest {
  const { step: _, min_step: __, ...rest } = request;
  return { ...rest, resume: { version, offset } };
}

function refuseBoth(options: Readonly<Record<string, number | undefined>>): void {
  const given = Object.entries(options).filter(([, value]) => value !== undefined);
  if (given.length < 2) return;
  const text = given.map(([name, value]) => `${name} ${value}`).join(' and ');
  throw new ShadowkeepError('INVALID_FIELD', `${text} exclude each other`, { metadata: { field: given[0]![0] } });
}

import { checkRunName } from '../../common/index.js';
import type { GetRunRequest__Output, WatchRunRequest__Output } from '../../protocol/index.js';
import { nonNegative } from './fields.js';

/** The checked name of the run in a request. Throws INVALID_FIELD. */
export function validateRunName(request: { readonly run: string }): string {
  checkRunName(request.run);
  return request.run;
}

/** Checks a GetRunRequest by itself. `first_tensor` is compared with the run's tensor count where the run is known. */
export function validateGetRun(request: GetRunRequest__Output): { run: string; firstTensor: number } {
  return { run: validateRunName(request), firstTensor: nonNegative('first_tensor', request.first_tensor) };
}

export function validateWatchRun(request: WatchRunRequest__Output): { run: string; every: number } {
  return { run: validateRunName(request), every: Math.max(1, nonNegative('every', request.every)) };
}

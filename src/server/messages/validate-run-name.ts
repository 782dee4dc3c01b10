import { checkRunName } from '../../common/index.js';
import type { GetRunRequest__Output, WatchRunRequest__Output } from '../../protocol/index.js';
import { nonNegative } from './fields.js';

/** For the requests that only name a run. */
export function validateRunName(request: { readonly run: string }): string {
  checkRunName(request.run);
  return request.run;
}

/** `first_tensor` is compared with the run's tensors where that is known. */
export function validateGetRun(request: GetRunRequest__Output): { run: string; firstTensor: number } {
  return { run: validateRunName(request), firstTensor: nonNegative('first_tensor', request.first_tensor) };
}

export function validateWatchRun(request: WatchRunRequest__Output): { run: string; every: number } {
  return { run: validateRunName(request), every: Math.max(1, nonNegative('every', request.every)) };
}

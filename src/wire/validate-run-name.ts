import { checkRunName } from '../common/index.js';
import { nonNegative } from './fields.js';
import type { WatchRunRequest__Output } from './gen/shadowkeep/v1/WatchRunRequest.js';

/** For the requests that only name a run. */
export function validateRunName(request: { readonly run: string }): string {
  checkRunName(request.run);
  return request.run;
}

export function validateWatchRun(request: WatchRunRequest__Output): { run: string; every: number } {
  return { run: validateRunName(request), every: Math.max(1, nonNegative('every', request.every)) };
}

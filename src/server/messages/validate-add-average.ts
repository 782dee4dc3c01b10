import {
  AVERAGE_COUNT_MAX,
  checkAverageName,
  checkRunName,
  quote,
  ShadowkeepError,
  SNAPSHOT_COUNT_MAX,
} from '../../common/index.js';
import type { AverageSpec, Run } from '../../engine/index.js';
import type { AddAverageRequest__Output } from '../../protocol/index.js';
import { invalidField } from './fields.js';
import { validateAverage } from './validate-average.js';
import { checkFilters, checkPatternSum } from './validate-policies.js';

export interface AddAverage {
  readonly run: string;
  readonly average: AverageSpec;
}

/** Checks the request by itself. `checkAddition` checks what the run demands of it. */
export function validateAddAverage({ run, average }: AddAverageRequest__Output): AddAverage {
  checkRunName(run);
  if (average === null) throw invalidField('average', 'is required', 'INVALID_AVERAGE');
  checkAverageName(average.name, 'average.name');
  return { run, average: validateAverage('average', average) };
}

/** Throws INVALID_AVERAGE or INITIAL_TOO_LATE when the average cannot be added to the run in its present state. */
export function checkAddition(run: Run, average: AverageSpec): void {
  const { averages, spec } = run;
  const name = quote(spec.name);
  if (averages.length >= AVERAGE_COUNT_MAX) {
    throw invalidField('average', `of run ${name} would be one more than ${AVERAGE_COUNT_MAX}`, 'INVALID_AVERAGE');
  }
  if (averages.some((present) => present.name === average.name)) {
    throw invalidField('average.name', `${quote(average.name)} is taken in run ${name}`, 'INVALID_AVERAGE');
  }
  checkPatternSum([...averages, average].flatMap(({ include, exclude }) => [...include, ...exclude]));
  checkFilters('average', average, run.layout.tensors);
  checkSnapshotCount(run, average);
  if (average.start !== 'INITIAL' || run.committedStep === undefined) return;
  throw new ShadowkeepError(
    'INITIAL_TOO_LATE',
    `average ${quote(average.name)} starts from INITIAL, run ${name} has committed step ${run.committedStep}: start it from FIRST or ZEROS`,
    { metadata: { average: average.name } },
  );
}

/** Checks that one more power function keeps the run's snapshots within their bound, which opening it did for fewer. */
function checkSnapshotCount({ averages, spec }: Run, average: AverageSpec): void {
  if (spec.snapshots === undefined || average.schedule.kind !== 'power_function') return;
  const powerCount = averages.filter(({ schedule }) => schedule.kind === 'power_function').length + 1;
  const { countMax } = spec.snapshots;
  if (powerCount * countMax <= SNAPSHOT_COUNT_MAX) return;
  throw invalidField(
    'average',
    `would be power function ${powerCount} of run ${quote(spec.name)}: with ${countMax} snapshots each at most ${SNAPSHOT_COUNT_MAX} fit`,
    'INVALID_AVERAGE',
  );
}

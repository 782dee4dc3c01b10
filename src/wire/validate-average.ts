import { type Precision, quote } from '../common/index.js';
import type { AverageSpec, Schedule } from '../engine/index.js';
import { invalidField, known, unimplemented } from './fields.js';
import type { Average__Output } from './gen/shadowkeep/v1/Average.js';

/** One average of a request whose name has been checked. */
export function validateAverage(field: string, average: Average__Output): AverageSpec {
  refuseUnserved(field, average);
  const start = known(`${field}.start`, average.start, ['START_UNSPECIFIED', 'ZEROS', 'INITIAL', 'FIRST']);
  if (start === 'START_UNSPECIFIED') {
    throw invalidField(`${field}.start`, 'must be ZEROS, INITIAL or FIRST', 'INVALID_AVERAGE');
  }
  return {
    name: average.name,
    start,
    schedule: scheduleOf(field, average),
    precision: precisionOf(field, average),
  };
}

/** Fields of the final proto that a later release serves. */
function refuseUnserved(field: string, average: Average__Output): void {
  if (average.delay_updates !== 0) throw unimplemented(`${field}.delay_updates`, average.delay_updates);
  if (average.delay_mode !== 'DELAY_MODE_UNSPECIFIED') throw unimplemented(`${field}.delay_mode`, average.delay_mode);
  if (average.every > 1) throw unimplemented(`${field}.every`, average.every);
  const unit = known(`${field}.decay_unit`, average.decay_unit, ['DECAY_UNIT_UNSPECIFIED', 'PER_UPDATE', 'PER_STEP']);
  if (unit === 'PER_STEP') throw unimplemented(`${field}.decay_unit`, unit);
  if (average.include.length > 0) throw unimplemented(`${field}.include`, average.include);
  if (average.exclude.length > 0) throw unimplemented(`${field}.exclude`, average.exclude);
  if (average.bias_correction) throw unimplemented(`${field}.bias_correction`, true);
  if (average.preset !== '') throw unimplemented(`${field}.preset`, average.preset);
}

function scheduleOf(field: string, average: Average__Output): Schedule {
  switch (average.schedule) {
    case 'constant': {
      const decay = average.constant?.decay ?? Number.NaN;
      if (!(decay >= 0 && decay <= 1)) {
        throw invalidField(`${field}.constant.decay`, `must be from 0 to 1, got ${decay}`, 'INVALID_AVERAGE');
      }
      return { kind: 'constant', decay };
    }
    case 'mean':
      return { kind: 'mean' };
    case undefined:
      throw invalidField(`${field}.schedule`, 'is required', 'INVALID_AVERAGE');
    default:
      throw unimplemented(`${field}.schedule`, average.schedule);
  }
}

function precisionOf(field: string, average: Average__Output): Precision {
  switch (average.precision) {
    case 'DTYPE_UNSPECIFIED':
    case 'F32':
      return 'F32';
    case 'F64':
      return 'F64';
    default:
      throw invalidField(
        `${field}.precision`,
        `of ${quote(average.name)} must be F32 or F64, got ${average.precision}`,
        'INVALID_AVERAGE',
      );
  }
}

export { assert, assertNever } from './assert.js';
export { biasProblem, isWithin, type Refusal, refusedField, refusedParameter, snakeCase } from './average-check.js';
export {
  AVERAGE_COUNTS,
  AVERAGE_DEFAULTS,
  AVERAGE_WORDS,
  type AverageWord,
  type Bound,
  SCHEDULE_KINDS,
  SCHEDULES,
  type ScheduleKind,
  scheduleRow,
} from './average-table.js';
export { crc32c } from './crc32c.js';
export {
  DTYPE_BYTES,
  type DType,
  FLOAT_DTYPES,
  type FloatDType,
  isDType,
  isFloatDType,
  PRECISIONS,
  type Precision,
} from './dtype.js';
export { ERROR_DOMAIN, ERROR_TABLE, type ErrorReason, ShadowkeepError } from './errors.js';
export * from './limits.js';
export { createLogger, LOG_LEVELS, type Logger, type LogLevel } from './log.js';
export { matchAll, type NamedList } from './name-patterns.js';
export { checkAverageName, checkPrintable, checkRunName, checkTensorName, namePattern, quote, shown } from './names.js';
export { escapeUnprintable } from './printable.js';
export { alignedBytes, elementCount, roundUp } from './shape.js';
export { toEnd } from './slices.js';
export { isTarget, TARGET_RULE } from './target.js';
export { createWaiter, type Waiter } from './waiter.js';

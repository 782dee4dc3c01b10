/** The canonical gRPC codes that this service answers with, by name: only `server` and `client` know gRPC's numbers. */
export type StatusName =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'ALREADY_EXISTS'
  | 'DATA_LOSS'
  | 'RESOURCE_EXHAUSTED'
  | 'DEADLINE_EXCEEDED'
  | 'UNAVAILABLE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL';

/**
 * The one error table. Each reason is the `google.rpc.ErrorInfo.reason` on the wire; docs/errors.md explains
 * the same reasons and a test compares the two.
 *
 * `permanent` tells a client whether sending the same request again can help.
 */
export const ERROR_TABLE = {
  // The request is wrong by itself.
  INVALID_NAME: { code: 'INVALID_ARGUMENT', permanent: true },
  INVALID_TENSOR: { code: 'INVALID_ARGUMENT', permanent: true },
  INVALID_AVERAGE: { code: 'INVALID_ARGUMENT', permanent: true },
  INVALID_FIELD: { code: 'INVALID_ARGUMENT', permanent: true },
  COMPRESSION_UNSUPPORTED: { code: 'UNIMPLEMENTED', permanent: true },
  TOO_MANY_TENSORS: { code: 'INVALID_ARGUMENT', permanent: true },
  OUT_OF_ORDER: { code: 'INVALID_ARGUMENT', permanent: true },
  CHUNK_GAP: { code: 'INVALID_ARGUMENT', permanent: true },
  CHUNK_OVERLAP: { code: 'INVALID_ARGUMENT', permanent: true },
  CHUNK_PAST_END: { code: 'INVALID_ARGUMENT', permanent: true },
  CHUNK_UNALIGNED: { code: 'INVALID_ARGUMENT', permanent: true },
  STEP_INCOMPLETE: { code: 'INVALID_ARGUMENT', permanent: true },
  STEP_MISMATCH: { code: 'INVALID_ARGUMENT', permanent: true },
  // The request does not fit the run's state.
  RUN_NOT_FOUND: { code: 'NOT_FOUND', permanent: true },
  AVERAGE_NOT_FOUND: { code: 'NOT_FOUND', permanent: true },
  VERSION_NOT_FOUND: { code: 'NOT_FOUND', permanent: true },
  LAYOUT_MISMATCH: { code: 'FAILED_PRECONDITION', permanent: true },
  WRITERS_MISMATCH: { code: 'FAILED_PRECONDITION', permanent: true },
  BOX_GAP: { code: 'FAILED_PRECONDITION', permanent: true },
  BOX_OVERLAP: { code: 'FAILED_PRECONDITION', permanent: true },
  BOXES_CHANGED: { code: 'FAILED_PRECONDITION', permanent: true },
  RUN_HAS_COMMITS: { code: 'FAILED_PRECONDITION', permanent: true },
  TRAINER_BEHIND: { code: 'FAILED_PRECONDITION', permanent: true },
  RUN_BEHIND: { code: 'FAILED_PRECONDITION', permanent: true },
  RUN_DAMAGED: { code: 'DATA_LOSS', permanent: true },
  AVERAGES_MISMATCH: { code: 'FAILED_PRECONDITION', permanent: true },
  LAST_AVERAGE: { code: 'FAILED_PRECONDITION', permanent: true },
  NOTHING_TO_COMBINE: { code: 'FAILED_PRECONDITION', permanent: false },
  INITIAL_REQUIRED: { code: 'FAILED_PRECONDITION', permanent: true },
  INITIAL_TOO_LATE: { code: 'FAILED_PRECONDITION', permanent: true },
  NOTHING_COMMITTED: { code: 'FAILED_PRECONDITION', permanent: false },
  WRITER_BUSY: { code: 'FAILED_PRECONDITION', permanent: false },
  GENERATION_UNKNOWN: { code: 'FAILED_PRECONDITION', permanent: true },
  STEP_CONFLICT: { code: 'ALREADY_EXISTS', permanent: true },
  STREAM_REPLACED: { code: 'ABORTED', permanent: true },
  GENERATION_FENCED: { code: 'ABORTED', permanent: true },
  RUN_DELETED: { code: 'ABORTED', permanent: true },
  VERSION_EVICTED: { code: 'ABORTED', permanent: false },
  // The bytes, the machine, the clock.
  CRC_MISMATCH: { code: 'DATA_LOSS', permanent: false },
  MEMORY_EXHAUSTED: { code: 'RESOURCE_EXHAUSTED', permanent: false },
  DISK_REFUSED: { code: 'FAILED_PRECONDITION', permanent: false },
  TRANSPORT_EXHAUSTED: { code: 'RESOURCE_EXHAUSTED', permanent: false },
  TOO_MANY_CONNECTIONS: { code: 'RESOURCE_EXHAUSTED', permanent: false },
  TOO_MANY_RUNS: { code: 'RESOURCE_EXHAUSTED', permanent: false },
  WRITERS_MISSING: { code: 'DEADLINE_EXCEEDED', permanent: false },
  STEP_TIMEOUT: { code: 'DEADLINE_EXCEEDED', permanent: false },
  WAIT_TIMEOUT: { code: 'DEADLINE_EXCEEDED', permanent: false },
  READER_STALLED: { code: 'DEADLINE_EXCEEDED', permanent: false },
  SHUTTING_DOWN: { code: 'UNAVAILABLE', permanent: false },
  INTERNAL: { code: 'INTERNAL', permanent: false },
} as const satisfies Record<string, { code: StatusName; permanent: boolean }>;

export type ErrorReason = keyof typeof ERROR_TABLE;

/** `ErrorInfo.domain` of every error of this service. */
export const ERROR_DOMAIN = 'shadowkeep.dev';

/**
 * The only error that reaches a peer. Its message says what was wrong, which value, which bound; a `cause` is
 * for the log and never leaves the process.
 */
export class ShadowkeepError extends Error {
  override readonly name = 'ShadowkeepError';
  readonly reason: ErrorReason;
  /** The values the message speaks of, for programs: `ErrorInfo.metadata`. */
  readonly metadata: Readonly<Record<string, string>>;

  constructor(
    reason: ErrorReason,
    message: string,
    options: { metadata?: Record<string, string | number>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.reason = reason;
    this.metadata = Object.fromEntries(
      Object.entries(options.metadata ?? {}).map(([key, value]) => [key, String(value)]),
    );
  }

  get code(): StatusName {
    return ERROR_TABLE[this.reason].code;
  }

  get permanent(): boolean {
    return ERROR_TABLE[this.reason].permanent;
  }
}

import { type ServiceError, status } from '@grpc/grpc-js';
import { ERROR_DOMAIN, ERROR_TABLE, type ErrorReason, ShadowkeepError } from '../common/index.js';
import { decodeErrorDetails } from '../protocol/index.js';
import { isUnreached } from './target.js';

/** gRPC's codes after which the same request may succeed. */
const TRANSIENT = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED', 'UNAVAILABLE']);

/**
 * A failure that carries no reason of our table: no server at the target, a broken connection, a deadline, a peer that
 * broke the protocol, or a reason that only a newer server knows. Has the same fields as `ShadowkeepError`.
 */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  /** gRPC's name of the status code, as `UNAVAILABLE`. */
  readonly code: string;
  /** The server's reason when it gave one that this client does not know. */
  readonly reason: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;

  constructor(
    code: keyof typeof status,
    message: string,
    options: { reason?: string; metadata?: Readonly<Record<string, string>>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.reason = options.reason;
    this.metadata = options.metadata ?? {};
  }

  /** Whether sending the same request again cannot help. */
  get permanent(): boolean {
    return !TRANSIENT.has(this.code);
  }
}

/** What every function of this client throws or rejects with. */
export type Failure = ShadowkeepError | ClientError;

/** What grpc-js reported, as the error that the server meant: its reason, message and metadata. */
export function toFailure(error: unknown): Failure {
  if (error instanceof ShadowkeepError || error instanceof ClientError) return error;
  if (!isServiceError(error)) return new ClientError('INTERNAL', String(error), { cause: error });
  const trailer = error.metadata.get('grpc-status-details-bin')[0];
  const details = trailer instanceof Buffer ? decodeErrorDetails(trailer) : undefined;
  if (details?.domain === ERROR_DOMAIN) {
    const { reason, message, metadata } = details;
    if (isKnownReason(reason)) return new ShadowkeepError(reason, message, { metadata, cause: error });
    return new ClientError(codeName(error.code), message, { reason, metadata, cause: error });
  }
  return new ClientError(codeName(error.code), error.details, { cause: error });
}

/** The peer answered in a way that the protocol does not allow. */
export function protocolError(message: string): ClientError {
  return new ClientError('INTERNAL', `the server broke the protocol: ${message}`);
}

/** What the server ends a connection or a stream with that may go on when there is room for it. */
const MADE_ROOM: ReadonlySet<string | undefined> = new Set(['TRANSPORT_EXHAUSTED', 'TOO_MANY_CONNECTIONS']);

/** What gRPC says, as INTERNAL or UNKNOWN, of a stream that the transport has reset. */
const RESET_TEXTS = ['RST_STREAM', 'Stream removed', 'Connection reset'];

/**
 * Whether the connection broke or was ended to make room, so that another one can go on where it was: neither a refusal
 * of the request nor a bug. The cases are test/common/reconnect.json, which Python's client runs, too.
 */
export function isDisconnect(failure: Failure): boolean {
  const { code, reason, message } = failure;
  if (code === 'UNAVAILABLE' || MADE_ROOM.has(reason)) return true;
  // A reason is the service's word, of a newer one also where it is not known here.
  if (reason !== undefined) return false;
  const isReset = RESET_TEXTS.some((text) => message.includes(text));
  return code === 'CANCELLED' || ((code === 'INTERNAL' || code === 'UNKNOWN') && isReset);
}

/** Whether the request never left this process: a channel has said so, not the service. */
export function wasNotSent(failure: Failure): boolean {
  return failure.code === 'UNAVAILABLE' && failure.reason === undefined && isUnreached(failure.message);
}

/** Whether nobody knows an address of the target's host. */
export function isUnknownHost(failure: Failure): boolean {
  return wasNotSent(failure) && failure.message.includes('Name resolution failed');
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && 'code' in error && 'metadata' in error && 'details' in error;
}

function isKnownReason(reason: string): reason is ErrorReason {
  return Object.hasOwn(ERROR_TABLE, reason);
}

function codeName(code: number): keyof typeof status {
  return (status[code] ?? 'UNKNOWN') as keyof typeof status;
}

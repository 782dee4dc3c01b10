import { type ServiceError, status } from '@grpc/grpc-js';
import { ERROR_DOMAIN, ERROR_TABLE, type ErrorReason, ShadowkeepError } from '../common/index.js';
import { decodeErrorDetails } from '../protocol/index.js';
import { isUnreached } from './target.js';

/** The gRPC codes after which the same request may succeed later. */
const TRANSIENT = new Set(['CANCELLED', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED', 'ABORTED', 'UNAVAILABLE']);

/**
 * A failure without a reason of ERROR_TABLE: no server at the target, a broken connection, a deadline, a peer that
 * broke the protocol, or a reason that only a newer server knows. It has the same fields as `ShadowkeepError`.
 */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  /** gRPC's name of the status code, such as `UNAVAILABLE`. */
  readonly code: string;
  /** The server's reason, if it gave one; this client does not know it. */
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

/** The errors that functions of this client throw or reject with. */
export type Failure = ShadowkeepError | ClientError;

/** Turns an error of grpc-js into the error that the server meant, with its reason, message and metadata. */
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

/** The error for a peer that answered in a way that the protocol does not allow. */
export function protocolError(message: string): ClientError {
  return new ClientError('INTERNAL', `the server broke the protocol: ${message}`);
}

/** The reasons with which a server ends a connection or a stream to make room: the client may come back later. */
const MADE_ROOM: ReadonlySet<string | undefined> = new Set(['TRANSPORT_EXHAUSTED', 'TOO_MANY_CONNECTIONS']);

/** Texts in gRPC's errors, of code INTERNAL or UNKNOWN, for a stream that the transport has reset. */
const RESET_TEXTS = ['RST_STREAM', 'Stream removed', 'Connection reset'];

/**
 * Whether the connection broke or was ended to make room, so that another connection can go on where it was. False for
 * a refusal of the request and for a bug. test/common/reconnect.json has the cases, which Python's client is tested
 * with too.
 */
export function isDisconnect(failure: Failure): boolean {
  const { code, reason, message } = failure;
  if (code === 'UNAVAILABLE' || MADE_ROOM.has(reason)) return true;
  // A failure with a reason is an answer of the service, even when only a newer client knows the reason.
  if (reason !== undefined) return false;
  const isReset = RESET_TEXTS.some((text) => message.includes(text));
  return code === 'CANCELLED' || ((code === 'INTERNAL' || code === 'UNKNOWN') && isReset);
}

/** Whether the request never left this process, because the channel had no connection. */
export function wasNotSent(failure: Failure): boolean {
  return failure.code === 'UNAVAILABLE' && failure.reason === undefined && isUnreached(failure.message);
}

/** Whether the request was not sent because the name of the target's host could not be resolved. */
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

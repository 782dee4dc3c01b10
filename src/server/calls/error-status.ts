import { Metadata, type StatusObject, status } from '@grpc/grpc-js';
import { type Logger, ShadowkeepError } from '../../common/index.js';
import { encodeErrorDetails } from '../../protocol/index.js';

/**
 * The status of an exception; no other place makes one. An exception that is no ShadowkeepError is a bug: the peer is
 * told INTERNAL and nothing else, and the log gets the whole exception.
 */
export function toStatus(error: unknown, log: Logger): StatusObject {
  if (!(error instanceof ShadowkeepError)) log.error({ err: error }, 'a handler failed');
  else if (error.cause !== undefined) log.error({ err: error.cause, reason: error.reason }, error.message);
  return statusOf(error instanceof ShadowkeepError ? error : new ShadowkeepError('INTERNAL', 'internal error'));
}

/** The status of a ShadowkeepError: its gRPC code, its message, and its details in `grpc-status-details-bin`. */
export function statusOf(error: ShadowkeepError): StatusObject {
  const code = status[error.code];
  const metadata = new Metadata();
  metadata.set('grpc-status-details-bin', encodeErrorDetails(error, code));
  return { code, details: error.message, metadata };
}

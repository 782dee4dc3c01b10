import { constants } from 'node:http2';
import type { StatusObject } from '@grpc/grpc-js';
import { streamOf } from '../transport/grpc-internals.js';
import type { ResponseStream } from './write-message.js';

/** How long a status may wait behind queued bytes that the peer does not read. */
const FLUSH_GRACE_MS = 2_000;

/**
 * Ends a streaming call with an error status. gRPC sends a status after the bytes that are queued, so a peer that reads
 * nothing would keep the call and its queue for ever. Therefore the HTTP/2 stream is reset after a grace.
 */
export function endCall(call: ResponseStream<never>, status: StatusObject): void {
  if (call.destroyed) return;
  call.emit('error', status);
  const stream = streamOf(call);
  if (stream === undefined || stream.closed) return;
  const timer = setTimeout(() => stream.close(constants.NGHTTP2_CANCEL), FLUSH_GRACE_MS).unref();
  stream.once('close', () => clearTimeout(timer));
}

import { constants, type ServerHttp2Stream } from 'node:http2';
import type { ShadowkeepError } from '../../common/index.js';
import { statusOf } from '../calls/error-status.js';

/**
 * Ends a call with an error, below gRPC. gRPC has no handler to end before the call's message is whole, and it would
 * send its status behind bytes that the peer does not read. What waits in the stream is freed at once. A call whose
 * peer has not taken the answer so far is reset, which clients see as CANCELLED.
 */
export function refuseStream(stream: ServerHttp2Stream, error: ShadowkeepError): void {
  if (stream.destroyed || stream.closed) return;
  const { code, details, metadata } = statusOf(error);
  const trailers = { 'grpc-status': code, 'grpc-message': encodeURI(details), ...metadata?.toHttp2Headers() };
  if (!stream.headersSent) {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc+proto', ...trailers }, { endStream: true });
    // NO_ERROR after a complete response tells the peer to stop sending its request.
    stream.close(constants.NGHTTP2_NO_ERROR);
  } else if (stream.writableLength > 0 || stream.writableEnded) {
    stream.close(constants.NGHTTP2_CANCEL);
  } else {
    stream.once('wantTrailers', () => {
      if (!stream.destroyed) stream.sendTrailers(trailers);
      stream.close(constants.NGHTTP2_NO_ERROR);
    });
    stream.end();
  }
}

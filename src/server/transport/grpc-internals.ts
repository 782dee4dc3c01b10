import type { Http2Server, IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream, Settings } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/**
 * The two private members of a grpc-js server that give access to its HTTP/2 server. Only this file touches private
 * members of other packages. test/server/http2-windows.test.ts fails when these two move.
 */
interface ServerInternals {
  commonServerOptions: { settings?: Settings };
  _setupHandlers(http2Server: Http2Server, ...rest: unknown[]): void;
}

/** The place where grpc-js keeps a call's HTTP/2 stream. test/server/calls/end-call.test.ts fails when it moves. */
interface CallInternals {
  call?: { stream?: ServerHttp2Stream };
}

type StreamListener = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest: unknown[]) => void;

/** Adds to the HTTP/2 settings that the server advertises. Call before `bindAsync`. */
export function addSettings(server: Server, settings: Settings): void {
  const internals = server as unknown as ServerInternals;
  internals.commonServerOptions.settings = { ...internals.commonServerOptions.settings, ...settings };
}

/** Calls `action` with each HTTP/2 server that is bound, before it takes connections. Call before `bindAsync`. */
export function onHttp2Server(server: Server, action: (http2Server: Http2Server) => void): void {
  const internals = server as unknown as ServerInternals;
  const setupHandlers = internals._setupHandlers.bind(server);
  internals._setupHandlers = (http2Server, ...rest) => {
    action(http2Server);
    setupHandlers(http2Server, ...rest);
  };
}

/** Makes the server hand only those streams to gRPC for which `admit` returns true. Call before `bindAsync`. */
export function guardStreams(
  server: Server,
  admit: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => boolean,
): void {
  const internals = server as unknown as ServerInternals;
  const setupHandlers = internals._setupHandlers.bind(server);
  internals._setupHandlers = (http2Server, ...rest) => {
    setupHandlers(http2Server, ...rest);
    const listeners = http2Server.listeners('stream') as StreamListener[];
    http2Server.removeAllListeners('stream');
    http2Server.on('stream', (...event: Parameters<StreamListener>) => {
      if (admit(event[0], event[1])) for (const listener of listeners) listener.apply(http2Server, event);
    });
  };
}

/**
 * Makes a paused stream hold no more than its window. By default it fills its own buffer, 16 or 64 KiB, in addition.
 */
export function takeOnlyTheWindow(stream: ServerHttp2Stream): void {
  (stream as unknown as { _readableState: { highWaterMark: number } })._readableState.highWaterMark = 0;
}

/** The handle that a connection is read from. While reading is stopped, the connection's data waits in the kernel. */
export interface ReadHandle {
  readStart(): number;
  readStop(): number;
  /** Bytes of answers that the kernel has not taken, because the peer does not read. */
  readonly writeQueueSize: number;
}

/**
 * The read handle of a connection, a private member of Node; undefined when the connection is gone.
 * test/server/transport/socket-turns.test.ts fails when it moves.
 */
export function readHandleOf(session: ServerHttp2Session): ReadHandle | undefined {
  return (session.socket as unknown as { _handle?: ReadHandle | null } | undefined)?._handle ?? undefined;
}

/** The HTTP/2 stream of a gRPC call. */
export function streamOf(call: object): ServerHttp2Stream | undefined {
  return (call as CallInternals).call?.stream;
}

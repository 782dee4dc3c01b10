import type { Http2Server, Settings } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/**
 * The two private fields of a grpc-js server that give access to its HTTP/2 server. Everything that needs them goes
 * through here, and test/server/http2-windows.test.ts fails when they move.
 */
interface ServerInternals {
  commonServerOptions: { settings?: Settings };
  _setupHandlers(http2Server: Http2Server, ...rest: unknown[]): void;
}

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

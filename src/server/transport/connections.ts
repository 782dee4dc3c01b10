import type { Socket } from 'node:net';
import type { Server } from '@grpc/grpc-js';
import { onHttp2Server } from './grpc-internals.js';

/** Knows the connections of a server, so that a stop comes to its end even when a peer does not answer. */
export class Connections {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;

  /** Make it before the server is bound. */
  constructor(server: Server) {
    this.#server = server;
    onHttp2Server(server, (http2Server) => {
      http2Server.on('connection', (socket: Socket) => {
        // This connection was on its way when the others were cut, and gRPC's shutdown would wait for it.
        if (this.#isCut) socket.destroy();
        this.#sockets.add(socket);
        socket.once('close', () => this.#sockets.delete(socket));
      });
    });
  }

  /**
   * Waits until every call has ended, at most `graceMs`, then cuts the connections that are left. gRPC's own shutdown
   * waits for the peer to close its connection, and a peer that is frozen or cut off never does.
   */
  async close(graceMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#isCut = true;
        this.#server.forceShutdown();
        for (const socket of this.#sockets) socket.destroy();
      }, graceMs);
      this.#server.tryShutdown(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

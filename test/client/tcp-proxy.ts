import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A way to a service that a test can cut, by the number of bytes that have gone through it. */
export class TcpProxy {
  readonly target: string;
  /** Where it leads to. */
  service: string;
  /** Connections that were let through. */
  connections = 0;
  /** While true, connections are ended as soon as they come. */
  isDown = false;
  /** Connections that were ended so. */
  refusals = 0;
  /** The next connection that has carried so many bytes to the service, or from it, is cut; undefined: none is. */
  cutAfterSent: number | undefined;
  cutAfterAnswered: number | undefined;
  /** Called when one was cut by its count. */
  onCut: () => void = () => {};
  readonly #sockets = new Set<Socket>();

  private constructor(target: string, service: string) {
    this.target = target;
    this.service = service;
  }

  static async start(service: string): Promise<TcpProxy> {
    const server = createServer((socket) => {
      const [host, port] = proxy.service.split(':') as [string, string];
      proxy.#accept(socket, connect(Number(port), host));
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const proxy = new TcpProxy(`127.0.0.1:${(server.address() as AddressInfo).port}`, service);
    onTestFinished(() => {
      server.close();
      proxy.cut();
    });
    return proxy;
  }

  /** Resets every connection that is open. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
  }

  #accept(from: Socket, to: Socket): void {
    for (const socket of [from, to]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        from.destroy();
        to.destroy();
      });
    }
    if (this.isDown) {
      this.refusals += 1;
      this.cut();
      return;
    }
    this.connections += 1;
    this.#carry(from, to, (bytes) => {
      if (this.cutAfterSent === undefined || bytes <= this.cutAfterSent) return false;
      this.cutAfterSent = undefined;
      return true;
    });
    this.#carry(to, from, (bytes) => {
      if (this.cutAfterAnswered === undefined || bytes <= this.cutAfterAnswered) return false;
      this.cutAfterAnswered = undefined;
      return true;
    });
  }

  /** Takes no more than the other side does. What was counted before a cut arrives, the rest of it is lost on the way. */
  #carry(source: Socket, sink: Socket, isCut: (bytes: number) => boolean): void {
    let bytes = 0;
    source.on('data', (data) => {
      bytes += data.length;
      if (isCut(bytes)) {
        this.onCut();
        sink.end();
        source.resetAndDestroy();
      } else if (!sink.write(data)) {
        source.pause();
        sink.once('drain', () => source.resume());
      }
    });
  }
}

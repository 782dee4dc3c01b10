import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

/** A proxy in front of a service, whose connections a test can cut after a number of bytes. */
export class TcpProxy {
  readonly target: string;
  /** The address of the service. */
  service: string;
  /** Number of connections that were let through. */
  connections = 0;
  /** While this is true, connections are ended as soon as they come. */
  isDown = false;
  /** Number of connections that were ended because of `isDown`. */
  refusals = 0;
  /** The next connection that has carried this many bytes to the service is cut; undefined when none shall be. */
  cutAfterSent: number | undefined;
  /** The next connection that has carried this many bytes from the service is cut; undefined when none shall be. */
  cutAfterAnswered: number | undefined;
  /** Called when a connection was cut because of its number of bytes. */
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

  /** Carries bytes no faster than `sink` takes them. Bytes counted before a cut arrive, and later ones are lost. */
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

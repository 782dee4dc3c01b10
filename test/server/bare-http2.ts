import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import type { GetShadowRequest, UpdateRequest } from '../../src/protocol/index.js';
import { shadowWeightsDefinition } from '../../src/protocol/index.js';

/*
 * Speaks gRPC on a bare HTTP/2 connection, for what a gRPC client would not do, such as sending half a message.
 *
 *   message  0: compressed (0 or 1) | 1…4: length, big-endian | 5…: protobuf
 */

export function frame(message: Uint8Array, isCompressed = false): Buffer {
  const header = Buffer.alloc(5);
  header[0] = isCompressed ? 1 : 0;
  header.writeUInt32BE(message.length, 1);
  return Buffer.concat([header, message]);
}

export function updateFrame(message: UpdateRequest): Buffer {
  return frame(shadowWeightsDefinition.Update.requestSerialize(message));
}

/** One call, on a connection of its own. */
export class BareCall {
  readonly session: ClientHttp2Session;
  readonly stream: ClientHttp2Stream;
  /** The headers and trailers that have come. */
  readonly headers: Record<string, unknown> = {};

  constructor(
    port: number,
    method: keyof typeof shadowWeightsDefinition,
    options: { initialWindowSize?: number; headers?: object } = {},
  ) {
    this.session = connect(`http://127.0.0.1:${port}`, {
      settings: options.initialWindowSize === undefined ? {} : { initialWindowSize: options.initialWindowSize },
    });
    this.session.on('error', () => undefined);
    this.stream = this.session.request({
      ':method': 'POST',
      ':path': shadowWeightsDefinition[method]!.path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...options.headers,
    });
    this.stream.on('error', () => undefined);
    for (const event of ['response', 'trailers'] as const) {
      this.stream.on(event, (headers: object) => Object.assign(this.headers, headers));
    }
  }

  send(bytes: Uint8Array): this {
    this.stream.write(bytes);
    return this;
  }

  /** Resolves when the stream is closed, with its gRPC status if one came and its HTTP/2 reset code. */
  async closed(): Promise<{ status: number | undefined; resetCode: number }> {
    if (!this.stream.closed) await new Promise((resolve) => this.stream.once('close', resolve));
    const status = this.headers['grpc-status'];
    return { status: status === undefined ? undefined : Number(status), resetCode: this.stream.rstCode ?? 0 };
  }

  /** Breaks the connection, as when the process is killed. */
  kill(): void {
    this.session.destroy();
  }
}

/** Starts a read with a window of one byte, so that not even the header gets through until the window is opened. */
export function stalledReader(port: number, request: GetShadowRequest): BareCall {
  const call = new BareCall(port, 'GetShadow', { initialWindowSize: 1 });
  call.stream.end(frame(shadowWeightsDefinition.GetShadow.requestSerialize(request)));
  return call;
}

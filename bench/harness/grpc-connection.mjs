import { connect } from 'node:http2';

/*
 * Speaks gRPC by hand over Node's HTTP/2. Messages are bytes, and nothing is done that the wire does not need, so that one
 * process can be many trainers or evaluators and still be faster than the service.
 *
 *   message   0x00 | length, 4 bytes big-endian | that many bytes
 */
export const PREFIX_BYTES = 5;

const SERVICE = '/shadowkeep.v1.ShadowWeights/';

/** Receive window of a stream, as in Shadowkeep's own clients. */
const WINDOW_BYTES = 8 << 20;

/** One HTTP/2 connection. Its calls share a window and take turns. */
export class GrpcConnection {
  #session;
  #connected;

  constructor(target) {
    this.#session = connect(`http://${target}`, { settings: { initialWindowSize: WINDOW_BYTES } });
    this.#connected = new Promise((resolve, reject) => {
      this.#session.once('connect', resolve);
      this.#session.once('error', reject);
    });
    this.#connected.catch(() => undefined);
  }

  async connected() {
    await this.#connected;
    this.#session.setLocalWindowSize(WINDOW_BYTES);
    return this;
  }

  /** Starts a call. Messages that are written to `stream` need gRPC's prefix, and messages from it have it. */
  call(method) {
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': SERVICE + method,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    return { stream, ended: endOf(stream) };
  }

  /** Sends one message and returns the answer. */
  async unary(method, message) {
    const { stream, ended } = this.call(method);
    const splitter = new MessageSplitter();
    const messages = [];
    stream.on('data', (piece) => messages.push(...splitter.push(piece)));
    stream.end(prefixed(message));
    await ended;
    return messages[0];
  }

  close() {
    this.#session.destroy();
  }
}

/** Resolves when a call has ended with status OK. Rejects with an error that has gRPC's code and text otherwise. */
function endOf(stream) {
  const ended = new Promise((resolve, reject) => {
    const settle = (headers) => {
      const status = headers['grpc-status'];
      if (status === '0') resolve();
      else if (status !== undefined) reject(new Error(`status ${status}: ${decodeURI(headers['grpc-message'] ?? '')}`));
    };
    // The status of a call that fails at once is in the response headers, not in the trailers.
    stream.on('response', settle);
    stream.on('trailers', settle);
    stream.on('error', reject);
    stream.on('close', () => reject(new Error('the call ended without a status')));
  });
  ended.catch(() => undefined);
  return ended;
}

/** A message with gRPC's prefix. The length in the prefix includes `bytesAfter` bytes that are written separately. */
export function prefixed(message, bytesAfter = 0) {
  const whole = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  whole[0] = 0;
  whole.writeUInt32BE(message.length + bytesAfter, 1);
  whole.set(message, PREFIX_BYTES);
  return whole;
}

/** Finds the messages in the bytes of a stream. */
export class MessageSplitter {
  #rest = Buffer.alloc(0);

  /** @returns the messages that `piece` completes, without their prefixes. */
  push(piece) {
    this.#rest = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    const messages = [];
    for (;;) {
      if (this.#rest.length < PREFIX_BYTES) return messages;
      const end = PREFIX_BYTES + this.#rest.readUInt32BE(1);
      if (this.#rest.length < end) return messages;
      messages.push(this.#rest.subarray(PREFIX_BYTES, end));
      this.#rest = this.#rest.subarray(end);
    }
  }
}

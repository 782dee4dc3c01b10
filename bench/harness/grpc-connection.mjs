import { connect } from 'node:http2';

/*
 * gRPC by hand over Node's HTTP/2: messages are bytes, and nothing is done for them that the wire does not ask for, so
 * that one process can be many trainers or evaluators and still wait for the service.
 *
 *   message   0x00 | length, 4 bytes big-endian | that many bytes
 */
export const PREFIX_BYTES = 5;

const SERVICE = '/shadowkeep.v1.ShadowWeights/';

/** As Shadowkeep's own clients have it. */
const WINDOW_BYTES = 8 << 20;

/** One HTTP/2 connection; calls of it share a window and take turns. */
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

  /** Starts a call. What is written on `stream` must be prefixed; what comes on it is. */
  call(method) {
    const stream = this.#session.request({
      ':method': 'POST',
      ':path': SERVICE + method,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    return { stream, ended: endOf(stream) };
  }

  /** Sends one message and gives the one that comes back. */
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

/** Resolves when a call has ended well, with an error that has gRPC's code and text otherwise. */
function endOf(stream) {
  const ended = new Promise((resolve, reject) => {
    const settle = (headers) => {
      const status = headers['grpc-status'];
      if (status === '0') resolve();
      else if (status !== undefined) reject(new Error(`status ${status}: ${decodeURI(headers['grpc-message'] ?? '')}`));
    };
    // A call that fails at once has its status in the first headers.
    stream.on('response', settle);
    stream.on('trailers', settle);
    stream.on('error', reject);
    stream.on('close', () => reject(new Error('the call ended without a status')));
  });
  ended.catch(() => undefined);
  return ended;
}

/** A message with its prefix, which says how long it is with what follows apart. */
export function prefixed(message, bytesAfter = 0) {
  const whole = Buffer.allocUnsafe(PREFIX_BYTES + message.length);
  whole[0] = 0;
  whole.writeUInt32BE(message.length + bytesAfter, 1);
  whole.set(message, PREFIX_BYTES);
  return whole;
}

/** Finds the messages in the bytes that come. */
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

import { type ClientHttp2Session, type ClientHttp2Stream, connect } from 'node:http2';
import { shadowWeightsDefinition } from '../../../src/protocol/index.js';
import { frame, PREFACE } from '../../server/transport/frames.js';

type Method = keyof typeof shadowWeightsDefinition;

/** One connection with many streams, and what a client of gRPC would not do with them. */
export class Attacker {
  readonly session: ClientHttp2Session;
  /** The gRPC status of each stream that has ended with one. */
  readonly statuses: number[] = [];
  readonly messages: string[] = [];
  resetCount = 0;

  constructor(port: number, settings: { initialWindowSize?: number } = {}) {
    // What it queues itself counts too: with less it would reset the streams of the answers.
    this.session = connect(`http://127.0.0.1:${port}`, { settings, maxSessionMemory: 8_192 });
    this.session.on('error', () => undefined);
  }

  stream(method: Method, headers: object = {}): ClientHttp2Stream {
    const stream = this.session.request({
      ':method': 'POST',
      ':path': shadowWeightsDefinition[method]!.path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    stream.on('error', () => undefined);
    const note = (answer: Record<string, unknown>): void => {
      if (answer['grpc-status'] === undefined) return;
      this.statuses.push(Number(answer['grpc-status']));
      this.messages.push(decodeURI(String(answer['grpc-message'] ?? '')));
    };
    stream.on('response', note).on('trailers', note);
    stream.on('close', () => {
      if (stream.rstCode !== 0) this.resetCount += 1;
    });
    return stream;
  }

  /** Streams that the server has ended. */
  get endedCount(): number {
    return this.statuses.length + this.resetCount;
  }

  close(): void {
    this.session.destroy();
  }
}

/** The prefix of a message of so many bytes. */
export function prefix(bytes: number, isCompressed = false): Buffer {
  const head = Buffer.alloc(5);
  head[0] = isCompressed ? 1 : 0;
  head.writeUInt32BE(bytes, 1);
  return head;
}

export function request<Name extends Method>(method: Name, message: object): Buffer {
  const serialize = shadowWeightsDefinition[method]!.requestSerialize as (value: object) => Buffer;
  const bytes = serialize(message);
  return Buffer.concat([prefix(bytes.length), bytes]);
}

/** HTTP/2 by hand: Node's own client puts what is written together into one DATA frame. */
export function tinyFrames(streamCount: number, framesPerStream: number): Buffer {
  // A header that is not indexed: 0x00 | length | name | length | value.
  const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  const headers = {
    ':method': 'POST',
    ':scheme': 'http',
    ':path': shadowWeightsDefinition.Update.path,
    ':authority': 'attacker',
    'content-type': 'application/grpc',
    te: 'trailers',
  };
  const block = Buffer.concat(
    Object.entries(headers).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]),
  );
  const byte = Buffer.alloc(1);
  const streams = Array.from({ length: streamCount }, (_, index) => {
    const id = 2 * index + 1;
    const bytes = Array.from({ length: framesPerStream }, () => frame(0, 0, id, byte));
    return Buffer.concat([frame(1, 4, id, block), frame(0, 0, id, prefix(8 << 20)), ...bytes]);
  });
  return Buffer.concat([PREFACE, frame(4, 0, 0), ...streams]);
}

import type { ClientDuplexStream, ServiceError } from '@grpc/grpc-js';
import type { Ack__Output } from '../../src/protocol/gen/shadowkeep/v1/Ack.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import type { UpdateOpened__Output } from '../../src/protocol/gen/shadowkeep/v1/UpdateOpened.js';
import type { UpdateRequest } from '../../src/protocol/gen/shadowkeep/v1/UpdateRequest.js';
import type { UpdateResponse__Output } from '../../src/protocol/gen/shadowkeep/v1/UpdateResponse.js';

/**
 * An Update stream whose answers a test awaits one by one. Awaiting throws the stream's error when that comes first.
 */
export class Upload {
  readonly stream: ClientDuplexStream<UpdateRequest, UpdateResponse__Output>;
  readonly #answers: UpdateResponse__Output[] = [];
  #error: ServiceError | undefined;
  #hasEnded = false;
  #wake: (() => void) | undefined;

  constructor(client: ShadowWeightsClient) {
    this.stream = client.update();
    this.stream.on('data', (answer) => {
      this.#answers.push(answer);
      this.#wake?.();
    });
    this.stream.on('error', (error: ServiceError) => {
      this.#error = error;
      this.#wake?.();
    });
    this.stream.on('end', () => {
      this.#hasEnded = true;
      this.#wake?.();
    });
  }

  send(message: UpdateRequest): this {
    this.stream.write(message);
    return this;
  }

  open(generation: number, rest: object = {}): this {
    return this.send({ open: { run: 'r', generation, ...rest } });
  }

  chunk(step: number, offset: number, data: Uint8Array, rest: object = {}): this {
    return this.send({ chunk: { step, offset, data: Buffer.from(data), ...rest } });
  }

  commit(step: number, bytes: number, rest: object = {}): this {
    return this.send({ commit: { step, bytes, ...rest } });
  }

  lost(through: number): this {
    return this.send({ lost: { through } });
  }

  /** Pushes a whole step of one chunk, or of none when it has no bytes. */
  push(step: number, data: Uint8Array, rest: object = {}): this {
    if (data.length > 0) this.chunk(step, 0, data);
    return this.commit(step, data.length, rest);
  }

  /** Number of answers that have come and that the test has not taken. */
  get answerCount(): number {
    return this.#answers.length;
  }

  /** Ends the stream so that the server sees a broken connection. */
  break(): void {
    this.stream.cancel();
  }

  async next(): Promise<UpdateResponse__Output> {
    for (;;) {
      const answer = this.#answers.shift();
      if (answer !== undefined) return answer;
      if (this.#error !== undefined) throw this.#error;
      if (this.#hasEnded) throw new Error('the stream has ended');
      await this.#news();
    }
  }

  async opened(): Promise<UpdateOpened__Output> {
    const { opened } = await this.next();
    if (!opened) throw new Error('opened is the first answer');
    return opened;
  }

  async ack(): Promise<Ack__Output> {
    for (;;) {
      const { ack } = await this.next();
      if (ack) return ack;
    }
  }

  /** Rejects with the error that ends the stream, and ignores answers before it. */
  async failure(): Promise<never> {
    for (;;) await this.next();
  }

  /** Half-closes the stream and waits until the server ends it. Ignores answers until then. */
  async end(): Promise<void> {
    this.stream.end();
    while (!this.#hasEnded) {
      if (this.#error !== undefined) throw this.#error;
      await this.#news();
    }
  }

  async #news(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }
}

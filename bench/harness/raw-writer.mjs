import { once } from 'node:events';
import { shadowWeightsDefinition } from '../../dist/protocol/index.js';
import { MessageSplitter } from './grpc-connection.mjs';
import { chunkHead, commitMessage } from './update-messages.mjs';

const decode = shadowWeightsDefinition.Update.responseDeserialize;

/** One writer's stream. It sends as fast as the service takes its bytes and waits for no acknowledgement in between. */
export class RawWriter {
  #stream;
  #openMessage;
  #stepBytes;
  #chunkBytes;
  /** A promise that rejects when the stream ends. */
  #failed;
  #opened;
  #sent = 0;
  #acked = 0;
  #wake = () => undefined;

  /**
   * `openMessage` has gRPC's prefix. `stepBytes` is the length of this writer's byte space, and `chunkBytes` that of
   * the data in one message.
   */
  constructor(connection, { openMessage, stepBytes, chunkBytes }) {
    const { stream, ended } = connection.call('Update');
    this.#stream = stream;
    this.#failed = ended.then(() => {
      throw new Error('the service ended the stream');
    });
    this.#failed.catch(() => undefined);
    this.#openMessage = openMessage;
    this.#stepBytes = stepBytes;
    this.#chunkBytes = chunkBytes;
    const splitter = new MessageSplitter();
    this.#opened = new Promise((resolve) => {
      this.#stream.on('data', (piece) => {
        for (const message of splitter.push(piece)) this.#receive(decode(message), resolve);
      });
    });
  }

  /** Declares the writer's boxes. Resolves when all writers have declared theirs. */
  async open() {
    this.#stream.write(this.#openMessage);
    await this.#orFailed(this.#opened);
  }

  /**
   * Sends steps while `goesOn(step)` is true. Their bytes are those of `block`, over and over. Resolves with the number
   * of steps when all are acknowledged.
   */
  async push(firstStep, block, goesOn) {
    let step = firstStep;
    for (; goesOn(step); step++) {
      await this.#sendStep(step, block);
      this.#sent += 1;
    }
    while (this.#acked < this.#sent) await this.#orFailed(this.#nextAck());
    return step - firstStep;
  }

  #nextAck() {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #sendStep(step, block) {
    const stream = this.#stream;
    for (let offset = 0; offset < this.#stepBytes; ) {
      const from = offset % block.length;
      const bytes = Math.min(this.#chunkBytes, this.#stepBytes - offset, block.length - from);
      stream.cork();
      stream.write(chunkHead(step, offset, bytes));
      const hasRoom = stream.write(block.subarray(from, from + bytes));
      stream.uncork();
      if (!hasRoom) await this.#orFailed(once(stream, 'drain'));
      offset += bytes;
    }
    if (!stream.write(commitMessage(step, this.#stepBytes))) await this.#orFailed(once(stream, 'drain'));
  }

  #receive({ message, ack }, opened) {
    if (message === 'opened') return opened();
    if (ack.state !== 'COMMITTED') throw new Error(`step ${ack.step} is ${ack.state} ${ack.detail}`);
    this.#acked += 1;
    this.#wake();
  }

  async #orFailed(promise) {
    await Promise.race([promise, this.#failed]);
  }
}

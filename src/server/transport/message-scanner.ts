/** What a scanner reports of the messages in a stream of bytes. */
export interface MessageEvents {
  /** A message of `bytes` bytes has begun. */
  begins(bytes: number, isCompressed: boolean): void;
  /** The last byte of a message of `bytes` bytes has come. */
  ends(bytes: number): void;
}

/** Length of gRPC's prefix of a message: compressed (0 or 1), 1 byte | length, 4 bytes, big-endian. */
const PREFIX_BYTES = 5;

/** Finds where gRPC's messages begin and end in the data of a stream, without keeping any of the data. */
export class MessageScanner {
  readonly #events: MessageEvents;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixFilled = 0;
  #messageBytes = 0;
  #remainingBytes = 0;

  constructor(events: MessageEvents) {
    this.#events = events;
  }

  /** Takes the next bytes of the stream. */
  scan(data: Uint8Array): void {
    let at = 0;
    while (at < data.length) {
      if (this.#prefixFilled < PREFIX_BYTES) {
        this.#prefix[this.#prefixFilled] = data[at] as number;
        this.#prefixFilled += 1;
        at += 1;
        if (this.#prefixFilled < PREFIX_BYTES) continue;
        this.#messageBytes = this.#remainingBytes = this.#prefix.readUInt32BE(1);
        this.#events.begins(this.#messageBytes, this.#prefix[0] !== 0);
      } else {
        const taken = Math.min(data.length - at, this.#remainingBytes);
        this.#remainingBytes -= taken;
        at += taken;
      }
      if (this.#remainingBytes > 0) continue;
      this.#prefixFilled = 0;
      this.#events.ends(this.#messageBytes);
    }
  }
}

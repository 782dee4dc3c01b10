/** What a scanner says of the messages in a stream of bytes. */
export interface MessageEvents {
  /** A message of so many bytes has begun. */
  begins(bytes: number, isCompressed: boolean): void;
  /** Its last byte has come. */
  ends(bytes: number): void;
}

/** compressed (0 or 1) | length, 4 bytes, big-endian */
const PREFIX_BYTES = 5;

/** Follows gRPC's messages through the data of a stream without keeping any of it. */
export class MessageScanner {
  readonly #events: MessageEvents;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixFilled = 0;
  #messageBytes = 0;
  #remainingBytes = 0;

  constructor(events: MessageEvents) {
    this.#events = events;
  }

  /** The stream's next bytes. */
  take(data: Uint8Array): void {
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

import { crc32c } from '../../common/index.js';
import { type TensorSpec, tensorBytes } from '../safetensors/format.js';

/** CRC-32C of each tensor of a packed stream, whose pieces are cut anywhere. */
export class TensorChecksums {
  readonly #lengths: number[];
  readonly #checksums: number[];
  #index = 0;
  #leftBytes: number;

  constructor(tensors: readonly TensorSpec[]) {
    this.#lengths = tensors.map((tensor) => tensorBytes(tensor) ?? 0);
    this.#checksums = tensors.map(() => 0);
    this.#leftBytes = this.#lengths[0] ?? 0;
  }

  /** Bytes past the last tensor are not looked at: whoever writes or reads the file refuses them. */
  update(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length && this.#index < this.#lengths.length; ) {
      const part = bytes.subarray(at, at + this.#leftBytes);
      this.#checksums[this.#index] = crc32c(part, this.#checksums[this.#index]);
      this.#leftBytes -= part.length;
      at += part.length;
      if (this.#leftBytes === 0) this.#leftBytes = this.#lengths[++this.#index] ?? 0;
    }
  }

  /** One per tensor, in order; 0 for an empty one. */
  get checksums(): readonly number[] {
    return this.#checksums;
  }
}

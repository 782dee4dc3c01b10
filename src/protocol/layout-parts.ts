/** Most bytes of the varint of an extent or offset, up to 2^50 elements. */
const NUMBER_BYTES_MAX = 8;

/** Most bytes of one entry's tags, lengths, enums and byte offset together. */
const ENTRY_BYTES_MAX = 32;

/** An upper bound of the bytes that a tensor takes in a message: with its name, and `numbers` extents and offsets. */
export function tensorEntryBytes(name: string, numbers: number): number {
  return Buffer.byteLength(name) + numbers * NUMBER_BYTES_MAX + ENTRY_BYTES_MAX;
}

/** The entries from index `begin` to before `end`, and an upper bound of the bytes that they take in a message. */
export interface EntryPart {
  readonly begin: number;
  readonly end: number;
  readonly bytes: number;
}

/** The longest part of at most `partBytes` bytes that begins at entry `begin` of `count`. It has at least one entry. */
export function partFrom(
  begin: number,
  count: number,
  partBytes: number,
  bytesOf: (index: number) => number,
): EntryPart {
  let bytes = 0;
  for (let index = begin; index < count; index++) {
    const entryBytes = bytesOf(index);
    if (bytes + entryBytes > partBytes && index > begin) return { begin, end: index, bytes };
    bytes += entryBytes;
  }
  return { begin, end: count, bytes };
}

/** Divides all entries into parts of at most `partBytes` bytes, in order. There is one part if there are no entries. */
export function* partsOf(count: number, partBytes: number, bytesOf: (index: number) => number): Generator<EntryPart> {
  let part: EntryPart = { begin: 0, end: 0, bytes: 0 };
  do {
    part = partFrom(part.end, count, partBytes, bytesOf);
    yield part;
  } while (part.end < count);
}

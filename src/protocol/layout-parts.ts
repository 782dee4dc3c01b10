/** Varints of an extent or an offset of 2^50 elements. */
const NUMBER_BYTES_MAX = 8;

/** Tags, lengths, enums and an offset of one entry. */
const ENTRY_BYTES_MAX = 32;

/** About how many bytes a tensor takes in a message, and not fewer: its name, and `numbers` extents and offsets. */
export function tensorEntryBytes(name: string, numbers: number): number {
  return Buffer.byteLength(name) + numbers * NUMBER_BYTES_MAX + ENTRY_BYTES_MAX;
}

/** Entries from `begin` to the one before `end`, and about how many bytes they take in a message. */
export interface EntryPart {
  readonly begin: number;
  readonly end: number;
  readonly bytes: number;
}

/** As many of `count` entries from `begin` on as fit into one part of so many bytes: at least one, where there is one. */
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

/** All entries in such parts, in their order; one part where all fit, or where there are none. */
export function* partsOf(count: number, partBytes: number, bytesOf: (index: number) => number): Generator<EntryPart> {
  let part: EntryPart = { begin: 0, end: 0, bytes: 0 };
  do {
    part = partFrom(part.end, count, partBytes, bytesOf);
    yield part;
  } while (part.end < count);
}

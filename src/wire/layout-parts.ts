/** Varints of an extent or an offset of 2^50 elements. */
const NUMBER_BYTES_MAX = 8;

/** Tags, lengths, enums and an offset of one entry. */
const ENTRY_BYTES_MAX = 32;

/** About how many bytes a tensor takes in a message, and not fewer: its name, and `numbers` extents and offsets. */
export function tensorEntryBytes(name: string, numbers: number): number {
  return Buffer.byteLength(name) + numbers * NUMBER_BYTES_MAX + ENTRY_BYTES_MAX;
}

/** How many entries from `begin` on fit into one part of so many bytes: at least one, where there is one. */
export function partEnd<Entry>(
  entries: readonly Entry[],
  begin: number,
  partBytes: number,
  bytesOf: (entry: Entry) => number,
): number {
  let bytes = 0;
  for (let index = begin; index < entries.length; index++) {
    bytes += bytesOf(entries[index]!);
    if (bytes > partBytes && index > begin) return index;
  }
  return entries.length;
}

/** The entries in parts of so many bytes, in their order; one part where all fit, or where there are none. */
export function* partsOf<Entry>(
  entries: readonly Entry[],
  partBytes: number,
  bytesOf: (entry: Entry) => number,
): Generator<Entry[]> {
  let begin = 0;
  do {
    const end = partEnd(entries, begin, partBytes, bytesOf);
    yield entries.slice(begin, end);
    begin = end;
  } while (begin < entries.length);
}

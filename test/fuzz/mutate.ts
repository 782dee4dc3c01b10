/** Bytes that come from the valid ones, or from nowhere: what a broken sender, a broken network or a hostile peer sends. */

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** An integer from 0 to `end` − 1: mulberry32. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * end);
  }

  pick<Item>(items: readonly Item[]): Item {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  bytes(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.below(256)));
  }
}

/** Field numbers up to the proto's largest one, each wire type, and lengths that no message has. */
const NUMBERS_MAX = 31;
const HUGE_LENGTHS = [
  [0xff, 0xff, 0xff, 0xff, 0x0f],
  [0xff, 0xff, 0xff, 0xff, 0x07],
  [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
  Array(11).fill(0xff) as number[],
];

type Mutation = (random: Random, bytes: Buffer) => Buffer;

const flipBits: Mutation = (random, bytes) => {
  const flipped = Buffer.from(bytes);
  for (let times = random.below(4); times >= 0 && flipped.length > 0; times--) {
    const at = random.below(flipped.length);
    flipped[at] = flipped.readUInt8(at) ^ (1 << random.below(8));
  }
  return flipped;
};

const truncate: Mutation = (random, bytes) => bytes.subarray(0, random.below(bytes.length + 1));

const duplicate: Mutation = (random, bytes) => {
  const from = random.below(bytes.length + 1);
  const part = bytes.subarray(from, from + random.below(bytes.length - from + 1));
  return Buffer.concat([bytes, ...Array<Buffer>(1 + random.below(8)).fill(part)]);
};

const insert: Mutation = (random, bytes) => {
  const at = random.below(bytes.length + 1);
  return Buffer.concat([bytes.subarray(0, at), random.bytes(1 + random.below(12)), bytes.subarray(at)]);
};

/** A field with a wire type by chance, at the end, where a message is still whole. */
const appendField: Mutation = (random, bytes) => {
  const tag = Buffer.from([((1 + random.below(15)) << 3) | random.below(8)]);
  return Buffer.concat([bytes, tag, random.bytes(random.below(10))]);
};

const appendHugeLength: Mutation = (random, bytes) => {
  const number = 1 + random.below(NUMBERS_MAX);
  const tag = number < 16 ? [(number << 3) | 2] : [((number << 3) & 0x7f) | 0x82, number >> 4];
  return Buffer.concat([bytes, Buffer.from([...tag, ...random.pick(HUGE_LENGTHS)])]);
};

/** Groups in groups: what a decoder that recurses runs out of stack with. */
const appendGroups: Mutation = (random, bytes) => {
  const start = ((1 + random.below(15)) << 3) | 3;
  return Buffer.concat([bytes, Buffer.alloc(10 ** (1 + random.below(6)), start)]);
};

const appendEmptyEntries: Mutation = (random, bytes) => {
  const pair = Buffer.from([((1 + random.below(8)) << 3) | 2, 0]);
  return Buffer.concat([bytes, Buffer.alloc(2 * 10 ** (1 + random.below(6)), pair)]);
};

const replaceAll: Mutation = (random) => random.bytes(random.below(200));

/** The cheap ones come more often: the others make messages of megabytes. */
const MUTATIONS: readonly Mutation[] = [
  ...Array<Mutation[]>(8)
    .fill([flipBits, truncate, duplicate, insert, appendField, appendHugeLength, replaceAll])
    .flat(),
  appendGroups,
  appendEmptyEntries,
];

export function mutate(random: Random, bytes: Buffer): Buffer {
  let mutated = bytes;
  for (let times = random.below(2); times >= 0; times--) mutated = random.pick(MUTATIONS)(random, mutated);
  return mutated;
}

import { describe, expect, test } from 'vitest';
import { BOX_COUNT_MAX, RANK_MAX, ShadowkeepError, toEnd } from '../../../src/common/index.js';
import type { BoxList } from '../../../src/engine/index.js';
import { shadowWeightsDefinition } from '../../../src/protocol/index.js';
import { OPEN_BOXES, takeBoxes } from '../../../src/server/messages/box-columns.js';
import { type DecodedGetShadow, requestDecoder } from '../../../src/server/messages/index.js';
import { randomNumbers } from '../../support/expected-ema.js';
import { decodedUpdate, refused } from './requests.js';

const SEED = Number(process.env['SHADOWKEEP_SEED'] ?? 20_261_122);

const { requestSerialize, requestDeserialize } = shadowWeightsDefinition.Update;
const decodeRead = requestDecoder(shadowWeightsDefinition.GetShadow);

interface Box {
  tensor: number;
  offset: number[];
  extent: number[];
  replica_group: number;
}

function varint(value: number | bigint): number[] {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest % 128n) + 128);
  return [...bytes, Number(rest)];
}

const field = (number: number, bytes: readonly number[]): number[] => [
  (number << 3) | 2,
  ...varint(bytes.length),
  ...bytes,
];

/** An UpdateOpen with nothing but boxes, given as bytes. */
const openOf = (...boxes: number[][]): Buffer => Buffer.from(boxes.flatMap((box) => field(4, box)));

/** The messages of the boxes in a decoded list. The box of a whole tensor has no offsets. */
function messages(list: BoxList | undefined): Box[] {
  if (list === undefined) return [];
  return Array.from({ length: list.count }, (_, index) => {
    const numbers = Array.from(list.dims.subarray(list.first[index]!, list.first[index + 1]!));
    return {
      tensor: list.tensor[index]!,
      offset: numbers.slice(0, numbers.length / 2),
      extent: numbers.slice(numbers.length / 2),
      replica_group: list.replicaGroup[index]!,
    };
  });
}

const take = (open: Buffer) => toEnd(takeBoxes(open, OPEN_BOXES));

const boxesIn = (open: Buffer): Box[] => messages(take(open).boxes);

describe('the boxes of an UpdateOpen, and of a GetShadowRequest', () => {
  test(`are what protobufjs decodes, and the rest is too, seed ${SEED}`, () => {
    console.info(`SHADOWKEEP_SEED=${SEED}`);
    const random = randomNumbers(SEED);
    const below = (count: number): number => Math.floor(((random() + 1) / 2) * count);
    const sizes = [1, 128, 2 ** 14, 2 ** 32 - 1, 2 ** 40, Number.MAX_SAFE_INTEGER];
    const number = (): number => below(sizes[below(sizes.length)]!);
    for (let round = 0; round < 300; round++) {
      const boxes = Array.from({ length: below(8) }, (): Box => {
        const rank = below(5);
        const numbers = (): number[] => Array.from({ length: rank }, number);
        return {
          tensor: below(2 ** 32),
          offset: numbers(),
          extent: numbers(),
          replica_group: below(3) * below(2 ** 31),
        };
      });
      const open = {
        run: 'r',
        generation: number(),
        writer: below(9),
        wire_dtype: 'BF16',
        takeover: below(2) === 0,
      } as const;
      const bytes = requestSerialize({ open: { ...open, boxes } });
      const ours = decodedUpdate(bytes) as { open: object; boxList: BoxList | undefined };
      const theirs = requestDeserialize(bytes);
      expect(messages(ours.boxList), JSON.stringify(boxes)).toEqual(theirs.open!.boxes);
      expect(ours.open).toEqual({ ...theirs.open, boxes: [] });
      const read = shadowWeightsDefinition.GetShadow.requestSerialize({ run: 'r', names: ['a', 'b'], boxes });
      const theirRead = shadowWeightsDefinition.GetShadow.requestDeserialize(read);
      const { boxList, ...ourRead } = decodeRead(read) as DecodedGetShadow;
      expect(messages(boxList)).toEqual(theirRead.boxes);
      expect(ourRead).toEqual({ ...theirRead, boxes: [] });
    }
  });

  test('may stand anywhere in it, and its other fields are left as they are', () => {
    const box = field(4, [0x08, 7]);
    const run = field(1, [0x72]);
    const { rest, boxes } = take(Buffer.from([...box, ...run, ...box, 0x18, 2, ...box]));
    expect(messages(boxes).map(({ tensor }) => tensor)).toEqual([7, 7, 7]);
    expect([...rest]).toEqual([...run, 0x18, 2]);
    const none = Buffer.from([...run, 0x18, 2]);
    expect(take(none)).toEqual({ rest: none, boxes: undefined });
  });

  test.each<[string, number[], Box]>([
    ['nothing', [], { tensor: 0, offset: [], extent: [], replica_group: 0 }],
    [
      'numbers one by one',
      [0x10, 1, 0x18, 5, 0x10, 0x80, 1, 0x18, 6],
      { tensor: 0, offset: [1, 128], extent: [5, 6], replica_group: 0 },
    ],
    [
      'numbers packed, in pieces and one by one',
      [...field(3, [5]), ...field(2, [1, 2]), 0x18, 6, ...field(3, [])],
      { tensor: 0, offset: [1, 2], extent: [5, 6], replica_group: 0 },
    ],
    [
      'a field twice: the last counts',
      [0x08, 1, 0x20, 4, 0x08, 2],
      { tensor: 2, offset: [], extent: [], replica_group: 4 },
    ],
    [
      'fields that nobody knows',
      [0x28, 9, 0x08, 3, ...field(6, [1, 2, 3])],
      { tensor: 3, offset: [], extent: [], replica_group: 0 },
    ],
    ['2^32 − 1', [0x08, ...varint(2 ** 32 - 1)], { tensor: 2 ** 32 - 1, offset: [], extent: [], replica_group: 0 }],
  ])('of %s', (_, bytes, box) => {
    expect(boxesIn(openOf(bytes))).toEqual([box]);
    const whole = Buffer.from(field(1, field(4, bytes)));
    expect(requestDeserialize(whole).open!.boxes, 'protobufjs says the same').toEqual([box]);
  });

  test('keep numbers of more than 32 bits beside small ones', () => {
    const boxes = boxesIn(
      openOf([...field(2, [3]), ...field(3, [4])], [...field(2, varint(2 ** 53 - 1)), ...field(3, [1])]),
    );
    expect(boxes.map(({ offset, extent }) => [offset, extent])).toEqual([
      [[3], [4]],
      [[2 ** 53 - 1], [1]],
    ]);
  });

  test.each<[string, number[], string, RegExp]>([
    [
      '2^53',
      [...field(2, varint(2n ** 53n)), ...field(3, [1])],
      'open.boxes[0].offset',
      /from 0 to 9007199254740991, got 9007199254740992$/,
    ],
    [
      '2^64 − 1',
      [0x18, ...varint(2n ** 64n - 1n)],
      'open.boxes[0].extent',
      /from 0 to 9007199254740991, got 18446744073709552000$/,
    ],
    [
      'an offset without an extent',
      field(2, [1]),
      'open.boxes[0].extent length',
      /must be an integer from 1 to 1, got 0$/,
    ],
    [
      'an extent without an offset',
      field(3, [1, 2]),
      'open.boxes[0].extent length',
      /must be an integer from 0 to 0, got 2$/,
    ],
  ])('with %s are refused', (_, bytes, name, text) => {
    const refusal = refused(() => take(openOf(bytes)));
    expect(refusal).toMatchObject({ reason: 'INVALID_FIELD', field: name });
    expect(refusal?.message).toMatch(text);
  });

  test('are as many as the bound, and not one more', () => {
    const empty = (count: number): Buffer => Buffer.alloc(2 * count, Buffer.from([0x22, 0]));
    expect(take(empty(BOX_COUNT_MAX)).boxes?.count).toBe(BOX_COUNT_MAX);
    expect(refused(() => take(empty(BOX_COUNT_MAX + 1)))).toEqual({
      reason: 'INVALID_FIELD',
      message: `open.boxes length must be an integer from 0 to ${BOX_COUNT_MAX}, got ${BOX_COUNT_MAX + 1}`,
      field: 'open.boxes length',
    });
  });

  test('are taken in slices', () => {
    const work = takeBoxes(openOf(...Array(20_000).fill([0x08, 7])), OPEN_BOXES);
    let slices = 1;
    while (work.next().done !== true) slices += 1;
    // The decoder walks twice over 80,000 bytes.
    expect(slices).toBeGreaterThan(2 * 2);
  });

  test.each([
    [
      'offsets',
      field(2, Array(RANK_MAX + 1).fill(1)),
      'open.boxes[0].offset has more than 64 numbers, the largest rank',
    ],
    [
      'extents',
      field(3, Array(RANK_MAX + 1).fill(1)),
      'open.boxes[0].extent has more than 64 numbers, the largest rank',
    ],
    ['fields', Array(257).fill([0x28, 1]).flat(), 'open.boxes[0] has more than 256 fields'],
  ])('with more %s than any tensor has dimensions are refused before they are all read', (_, bytes, message) => {
    expect(refused(() => take(openOf(bytes)))).toMatchObject({ reason: 'INVALID_FIELD', message });
  });

  test('that are damaged are no message, wherever the damage is', () => {
    const good = requestSerialize({
      open: { run: 'r', boxes: [{ tensor: 300, offset: [1, 2 ** 40], extent: [3, 4], replica_group: 9 }, {}] },
    });
    for (let length = 1; length < good.length; length++) {
      const decoded = decodedUpdate(good.subarray(0, length));
      expect(decoded, `${length} bytes`).toBeInstanceOf(ShadowkeepError);
    }
    for (const [bytes, text] of [
      [[0x12, 5, 1], /a field ends at byte \d+, the message has 5|its box at byte/],
      [[0x08], /the message ends inside of a number|its box at byte/],
      [[0x0f], /wire type 7/],
      [[0x08, ...Array(10).fill(0xff), 1], /has more than 10 bytes$/],
    ] as const) {
      expect(() => take(openOf([...bytes])), bytes.join()).toThrow(text);
    }
    // The last field of the first box claims bytes of the second box.
    expect(() => take(openOf([0x12, 3, 1], [0x08, 1]))).toThrow(/^a field ends at byte 7, its box at byte 5$/);
  });

  test(`never crash the decoder: a byte changed anywhere, seed ${SEED}`, () => {
    const random = randomNumbers(SEED);
    const good = requestSerialize({
      open: {
        run: 'r',
        generation: 1,
        boxes: Array(4).fill({ tensor: 1, offset: [0, 7], extent: [2, 300] }),
        takeover: true,
      },
    });
    for (let at = 0; at < good.length; at++) {
      for (let turn = 0; turn < 24; turn++) {
        const bytes = Buffer.from(good);
        bytes[at] = Math.floor(((random() + 1) / 2) * 256);
        // The decoder returns a request or an error. If it threw, the server would have a bug.
        const decoded = decodedUpdate(bytes);
        if (!(decoded instanceof ShadowkeepError)) continue;
        expect(decoded.reason).toBe('INVALID_FIELD');
      }
    }
  });
});

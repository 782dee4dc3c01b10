import { describe, expect, test } from 'vitest';
import { ShadowkeepError, toEnd } from '../../../src/common/index.js';
import { shadowWeightsDefinition } from '../../../src/protocol/index.js';
import { decodeOpenRun, requestDecoder } from '../../../src/server/messages/index.js';
import { decodedUpdate } from './requests.js';

const openRun = (bytes: Buffer): object => {
  try {
    return toEnd(decodeOpenRun([bytes]));
  } catch (error) {
    return error as Error;
  }
};
const getShadow = requestDecoder(shadowWeightsDefinition.GetShadow);
const addAverage = requestDecoder(shadowWeightsDefinition.AddAverage);
const getRun = requestDecoder(shadowWeightsDefinition.GetRun);

const lengthDelimited = (field: number, bytes: Uint8Array): Buffer => {
  const length: number[] = [];
  for (let rest = bytes.length; ; rest >>>= 7) {
    length.push(rest < 0x80 ? rest : (rest & 0x7f) | 0x80);
    if (rest < 0x80) break;
  }
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...length]), bytes]);
};

/** `count` entries of a field that cannot be decoded, because each ends in the middle of a number. */
const broken = (field: number, count: number): Buffer =>
  Buffer.alloc(count * 3, Buffer.from([(field << 3) | 2, 1, 0xff]));

/** `count` empty entries of a field. */
const empty = (field: number, count: number): Buffer => Buffer.alloc(count * 2, Buffer.from([(field << 3) | 2, 0]));

/** `count` averages that cannot be decoded. Their fields are counted first, so the break is inside of the schedule. */
const brokenAverages = (count: number): Buffer => {
  const entry = lengthDelimited(3, Buffer.from([((20 << 3) & 0x7f) | 0x80 | 2, 1, 1, 0xff]));
  return Buffer.alloc(count * entry.length, entry);
};

function refusal(decoded: object): { reason: string; message: string } {
  if (!(decoded instanceof ShadowkeepError)) throw new Error('it was decoded');
  return { reason: decoded.reason, message: decoded.message };
}

test('valid requests are decoded as they were', () => {
  const request = { run: 'r', tensors: [{ name: 'w', dtype: 'F32', shape: [2, 2 ** 50] }], resume_step: 2 ** 53 - 1 };
  const bytes = shadowWeightsDefinition.OpenRun.requestSerialize(request as never);
  expect(openRun(bytes)).toEqual(shadowWeightsDefinition.OpenRun.requestDeserialize(bytes));
  expect(openRun(bytes)).toMatchObject(request);
  expect(decodedUpdate(lengthDelimited(2, lengthDelimited(15, Buffer.alloc(300))))).toMatchObject({
    chunk: { offset: 0 },
  });
});

describe('what is over its bound is counted before an entry is decoded', () => {
  const from0to = (max: number, got: number): string => `length must be an integer from 0 to ${max}, got ${got}`;
  test.each([
    ['tensors', openRun, empty(2, 65_537), 'TOO_MANY_TENSORS', 'tensors has more than 65536 entries'],
    ['averages', openRun, brokenAverages(8_000), 'INVALID_AVERAGE', `averages ${from0to(16, 8_000)}`],
    ['policies', openRun, broken(8, 1_025), 'INVALID_FIELD', `policies ${from0to(1_024, 1_025)}`],
    [
      'the patterns of an average',
      openRun,
      lengthDelimited(3, empty(8, 1_025)),
      'INVALID_AVERAGE',
      `average.include ${from0to(1_024, 1_025)}`,
    ],
    [
      'the patterns of an average that is added',
      addAverage,
      lengthDelimited(2, empty(9, 1_025)),
      'INVALID_AVERAGE',
      `average.exclude ${from0to(1_024, 1_025)}`,
    ],
    ['names', getShadow, broken(7, 1_025), 'INVALID_FIELD', `names ${from0to(1_024, 1_025)}`],
    ['boxes', getShadow, broken(8, 65_537), 'INVALID_FIELD', `boxes ${from0to(65_536, 65_537)}`],
    [
      'open.boxes',
      decodedUpdate,
      lengthDelimited(1, empty(4, 262_145)),
      'INVALID_FIELD',
      `open.boxes ${from0to(262_144, 262_145)}`,
    ],
  ] as const)('%s', (_, decode, bytes, reason, message) => {
    expect(refusal(decode(bytes))).toEqual({ reason, message });
  });

  test('what stands between the entries is skipped as what it is', () => {
    const between = Buffer.concat([
      Buffer.from([4 << 3, 0xff, 0xff, 0xff, 0xff, 0x0f]),
      Buffer.from([((20 << 3) & 0x7f) | 0x80 | 1, 1, ...Array(8).fill(0x1a)]),
      Buffer.from([((20 << 3) & 0x7f) | 0x80 | 5, 1, ...Array(4).fill(0x1a)]),
      lengthDelimited(1, Buffer.alloc(50, 0x1a)),
    ]);
    const bytes = Buffer.concat(Array.from({ length: 17 }, () => [between, brokenAverages(1)]).flat());
    expect(refusal(openRun(bytes)).message).toMatch(/^averages length .* to 16, got 17$/);
  });
});

test('the boxes of an opening are taken wherever it stands, and it stands there once', () => {
  const open = lengthDelimited(
    1,
    Buffer.concat([lengthDelimited(1, Buffer.from('r')), lengthDelimited(4, Buffer.from([8, 7]))]),
  );
  const unknown = lengthDelimited(9, Buffer.alloc(3, 0x0a));
  for (const bytes of [
    open,
    Buffer.concat([unknown, open]),
    Buffer.concat([open, unknown]),
    Buffer.concat([unknown, open, unknown]),
  ]) {
    const decoded = decodedUpdate(bytes) as { open?: object; boxList?: { count: number; tensor: Uint32Array } };
    expect(decoded.open).toMatchObject({ run: 'r', boxes: [] });
    expect([...decoded.boxList!.tensor]).toEqual([7]);
  }
  expect(refusal(decodedUpdate(Buffer.concat([open, open])))).toEqual({
    reason: 'INVALID_FIELD',
    message: 'open length must be an integer from 0 to 1, got 2',
  });
});

test.each([
  ['a length past the end', getRun, [0x0a, 5, 0x72], /^message is no shadowkeep\.v1\.GetRunRequest: /],
  [
    'a length of 2^32 − 1',
    openRun,
    [0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
    /OpenRunRequest: a field ends at byte 4294967301/,
  ],
  ['a length of ten bytes', openRun, [0x0a, ...Array(9).fill(0xff), 1], /the number at byte 1 has more than 5 bytes$/],
  [
    'a value of eleven bytes',
    openRun,
    [0x20, ...Array(10).fill(0xff), 1],
    /the number at byte 1 has more than 10 bytes$/,
  ],
  ['an end inside of a number', openRun, [0x20, 0x80], /the message ends inside of a number at byte 2$/],
  ['an end inside of a double', openRun, [0x79, 0, 0], /a field ends at byte 9, the message has 3$/],
  ['a group', decodedUpdate, [0x0b, 0x0c], /UpdateRequest: wire type 3 at byte 1$/],
  ['a wire type that is none', getShadow, [0x0f], /GetShadowRequest: wire type 7 at byte 1$/],
  ['a bad entry within the bounds', openRun, [...broken(2, 1)], /^message is no shadowkeep\.v1\.OpenRunRequest: /],
] as const)('%s is no message', (_, decode, bytes, text) => {
  const { reason, message } = refusal(decode(Buffer.from(bytes)));
  expect(reason).toBe('INVALID_FIELD');
  expect(message).toMatch(text);
});

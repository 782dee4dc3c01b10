import { describe, expect, test } from 'vitest';
import { crc32c, ERROR_TABLE } from '../../src/common/index.js';
import type { UpdateRequest } from '../../src/protocol/gen/shadowkeep/v1/UpdateRequest.js';
import { expectError } from '../server/expect-error.js';
import { Upload } from '../server/upload.js';
import { type Attack, INEXACT, STEP_BYTES, stepOf, Victim } from './victim.js';

const NOT_EXACT = 'must be an integer from 0 to 9007199254740991, got ';
const DATA = Buffer.alloc(64, 1);

const chunk = (rest: object): UpdateRequest[] => [{ chunk: { step: 2, offset: 0, data: DATA, ...rest } }];
const commit = (rest: object): UpdateRequest[] => [{ commit: { step: 2, bytes: STEP_BYTES, ...rest } }];
/** What a stream has received of step 2 before a message of the table comes. */
const after = (bytes: number, messages: UpdateRequest[]): UpdateRequest[] => [
  ...chunk({ data: Buffer.alloc(bytes, 1) }),
  ...messages,
];

/** A box of `w`, and all of `n`. */
const box = (offset: (number | string)[], extent: (number | string)[]): object => ({ offset, extent });
const N = { tensor: 1 };

/** The first message of a stream. */
const FIRST: Attack<UpdateRequest[]>[] = [
  ['an empty message', [{}], 'INVALID_FIELD', /^message is missing: open, chunk, commit or lost is required$/],
  ['a chunk before open', chunk({}), 'OUT_OF_ORDER', /^the first message must be open, got chunk$/],
  ['a commit before open', commit({}), 'OUT_OF_ORDER', /^the first message must be open, got commit$/],
  ['a loss before open', [{ lost: { through: 2 } }], 'OUT_OF_ORDER', /^the first message must be open, got lost$/],
];

const OPEN: Attack<object>[] = [
  ['no run', { run: '' }, 'INVALID_NAME', /^open\.run "" must match/],
  ['run ..', { run: '..' }, 'INVALID_NAME', /^open\.run "\.\." must match/],
  ['run of 10 KB', { run: 'r'.repeat(10_240) }, 'INVALID_NAME', /^open\.run .* has 10240 characters, at most 128/],
  ['run __proto__', { run: '__proto__' }, 'INVALID_NAME', /^open\.run "__proto__" must match/],
  ['an unknown run', { run: 'constructor' }, 'RUN_NOT_FOUND', /^run "constructor" does not exist$/],
  ['generation 0', { generation: 0 }, 'GENERATION_FENCED', /^generation 0 of run "r" was fenced, 1 is open: /],
  [
    'generation 2',
    { generation: 2 },
    'GENERATION_UNKNOWN',
    /^run "r" has no generation 2, 1 is open: it is of another run of that name, or of another server$/,
  ],
  ...INEXACT.map(
    (generation): Attack<object> => [
      `generation ${generation}`,
      { generation },
      'INVALID_FIELD',
      new RegExp(`^open.generation ${NOT_EXACT}\\d+$`),
    ],
  ),
  ['writer 1', { writer: 1 }, 'INVALID_FIELD', /^open\.writer must be an integer from 0 to 0, got 1$/],
  ['writer 1,024', { writer: 1_024 }, 'INVALID_FIELD', /^open\.writer must be an integer from 0 to 1023, got 1024$/],
  ['writer 2^32 − 1', { writer: 2 ** 32 - 1 }, 'INVALID_FIELD', /^open\.writer .* from 0 to 1023, got 4294967295$/],
  [
    'wire_dtype I64',
    { wire_dtype: 'I64' },
    'INVALID_FIELD',
    /^open\.wire_dtype must be F16, BF16, F32 or F64, got I64$/,
  ],
  ['wire_dtype F8_E4M3', { wire_dtype: 'F8_E4M3' }, 'INVALID_FIELD', /^open\.wire_dtype .* got F8_E4M3$/],
  ['wire_dtype 99', { wire_dtype: 99 }, 'INVALID_FIELD', /^open\.wire_dtype .* got 99$/],
  [
    'a box of no tensor',
    { boxes: [{ tensor: 2 }] },
    'INVALID_FIELD',
    /^open\.boxes\[0\]\.tensor .* from 0 to 1, got 2$/,
  ],
  [
    'a box of tensor 2^32 − 1',
    { boxes: [{ tensor: 2 ** 32 - 1 }] },
    'INVALID_FIELD',
    /^open\.boxes\[0\]\.tensor .* from 0 to 1, got 4294967295$/,
  ],
  [
    'one box of two',
    { boxes: [{}] },
    'BOX_GAP',
    /^run "r": element \[0\] of tensor "n" of shape \[2\] is in no box of its/,
  ],
  [
    'a box twice',
    { boxes: [{}, {}] },
    'BOX_OVERLAP',
    /^run "r": element \[0\] of tensor "w" of shape \[40\] is in 2 boxes/,
  ],
  [
    'half a tensor',
    { boxes: [box([0], [20]), N] },
    'BOX_GAP',
    /^run "r": element \[20\] of tensor "w" of shape \[40\] is in no/,
  ],
  ['a twin of a group', { boxes: [{ replica_group: 1 }, { replica_group: 1 }, N] }, 'BOX_OVERLAP', /is in 2 boxes/],
  [
    'a moved box',
    { boxes: [box([1], [40]), N] },
    'INVALID_FIELD',
    /^open\.boxes\[0\] goes from 1 to 41 in dimension 0 of tensor "w" of shape \[40\]$/,
  ],
  [
    'a box over 2^53',
    { boxes: [N, box([2 ** 53 - 1], [2 ** 53 - 1])] },
    'INVALID_FIELD',
    /^open\.boxes\[1\] goes from 9007199254740991 to 18014398509481982 in dimension 0/,
  ],
  [
    'offset without extent',
    { boxes: [box([0], [])] },
    'INVALID_FIELD',
    /^open\.boxes\[0\]\.extent length .* 1 to 1, got 0$/,
  ],
  [
    'extent without offset',
    { boxes: [box([], [40])] },
    'INVALID_FIELD',
    /^open\.boxes\[0\]\.extent length .* 0 to 0, got 1$/,
  ],
  [
    'rank 2 of 1',
    { boxes: [box([0, 0], [1, 1])] },
    'INVALID_FIELD',
    /^open\.boxes\[0\] must have 1 offsets and .* got 2$/,
  ],
  [
    'rank 4,096',
    { boxes: [box(Array(4_096).fill(0), Array(4_096).fill(1))] },
    'INVALID_FIELD',
    /^open\.boxes\[0\]\.offset has more than 64 numbers, the largest rank$/,
  ],
  ...INEXACT.flatMap((value): Attack<object>[] => [
    [
      `box offset ${value}`,
      { boxes: [box([value], [1])] },
      'INVALID_FIELD',
      /^open\.boxes\[0\]\.offset must be an integer/,
    ],
    [
      `box extent ${value}`,
      { boxes: [box([0], [value])] },
      'INVALID_FIELD',
      /^open\.boxes\[0\]\.extent must be an integer/,
    ],
  ]),
  [
    '262,145 boxes',
    { boxes: Array(262_145).fill({}) },
    'INVALID_FIELD',
    /^open\.boxes length must be an integer from 0 to 262144, got 262145$/,
  ],
];

/** Messages after an answered open. */
const REST: Attack<UpdateRequest[]>[] = [
  ['an empty message', [{}], 'INVALID_FIELD', /^message is missing: open, chunk, commit or lost is required$/],
  ['a second open', [{ open: { run: 'r', generation: 1 } }], 'OUT_OF_ORDER', /^open is the first message .* no other$/],
  ...INEXACT.flatMap((value): Attack<UpdateRequest[]>[] => [
    [`chunk.step ${value}`, chunk({ step: value }), 'INVALID_FIELD', new RegExp(`^chunk.step ${NOT_EXACT}\\d+$`)],
    [`chunk.offset ${value}`, chunk({ offset: value }), 'INVALID_FIELD', new RegExp(`^chunk.offset ${NOT_EXACT}\\d+$`)],
    [`commit.step ${value}`, commit({ step: value }), 'INVALID_FIELD', new RegExp(`^commit.step ${NOT_EXACT}\\d+$`)],
    [`commit.bytes ${value}`, commit({ bytes: value }), 'INVALID_FIELD', new RegExp(`^commit.bytes ${NOT_EXACT}\\d+$`)],
  ]),
  [
    'an empty chunk',
    chunk({ data: Buffer.alloc(0) }),
    'INVALID_FIELD',
    /^chunk of step 2 at offset 0 with 0 bytes is empty$/,
  ],
  ['a chunk without any field', [{ chunk: {} }], 'INVALID_FIELD', /^chunk of step 0 .* is empty$/],
  [
    'a chunk over 4 MiB − 4096',
    chunk({ data: Buffer.alloc(4 * (1 << 20) - 4_080) }),
    'INVALID_FIELD',
    /with 4190224 bytes is larger than 4190208$/,
  ],
  [
    'crc32c of other bytes',
    chunk({ crc32c: crc32c(DATA) ^ 1 }),
    'CRC_MISMATCH',
    /^chunk of step 2 at offset 0 has crc32c \d+, its header says \d+$/,
  ],
  ['crc32c 0', chunk({ crc32c: 0 }), 'CRC_MISMATCH', /its header says 0$/],
  [
    'a gap at the start',
    chunk({ offset: 64 }),
    'CHUNK_GAP',
    /^chunk .* offset 64 .* leaves a gap, 0 bytes have arrived$/,
  ],
  ['a gap', after(64, chunk({ offset: 80 })), 'CHUNK_GAP', /offset 80 with 64 bytes leaves a gap, 64 bytes have/],
  ['a chunk twice', after(64, chunk({})), 'CHUNK_OVERLAP', /offset 0 with 64 bytes overlaps, 64 bytes have arrived$/],
  ['an overlap', after(64, chunk({ offset: 48 })), 'CHUNK_OVERLAP', /offset 48 with 64 bytes overlaps, 64 bytes/],
  [
    'an end past the step',
    chunk({ data: Buffer.alloc(272) }),
    'CHUNK_PAST_END',
    /with 272 bytes ends past the step's 256$/,
  ],
  [
    'an end past the step later',
    after(208, chunk({ offset: 208 })),
    'CHUNK_PAST_END',
    /offset 208 .* past the step's 256$/,
  ],
  ['an offset at the end', after(256, chunk({ offset: 256 })), 'CHUNK_PAST_END', /offset 256 .* past the step's 256$/],
  ['an offset of 2^53 − 1', chunk({ offset: 2 ** 53 - 1 }), 'CHUNK_PAST_END', /offset 9007199254740991 .* past the/],
  [
    'an odd cut',
    chunk({ data: Buffer.alloc(15) }),
    'CHUNK_UNALIGNED',
    /with 15 bytes does not end on a multiple of 16$/,
  ],
  [
    'a cut on 8',
    after(64, chunk({ offset: 64, data: Buffer.alloc(8) })),
    'CHUNK_UNALIGNED',
    /with 8 bytes does not end/,
  ],
  [
    'another step in between',
    after(64, chunk({ step: 3, offset: 64 })),
    'STEP_MISMATCH',
    /^step 3 came while step 2 is being/,
  ],
  [
    'a committed step in between',
    after(64, chunk({ step: 1, offset: 64 })),
    'STEP_MISMATCH',
    /^step 1 came while step 2/,
  ],
  [
    'a commit of another step',
    after(256, commit({ step: 3 })),
    'STEP_MISMATCH',
    /^step 3 came while step 2 is being received$/,
  ],
  ['a commit of a committed step', after(256, commit({ step: 1 })), 'STEP_MISMATCH', /^step 1 came while step 2/],
  ['a commit of nothing', commit({}), 'STEP_INCOMPLETE', /^commit of step 2 says 256 bytes and 0 arrived, .* has 256$/],
  ['a commit too early', after(240, commit({})), 'STEP_INCOMPLETE', /^commit of step 2 says 256 bytes and 240 arrived/],
  [
    'a commit of too few bytes',
    after(256, commit({ bytes: 240 })),
    'STEP_INCOMPLETE',
    /says 240 bytes and 256 arrived/,
  ],
  [
    'a commit of too many bytes',
    after(256, commit({ bytes: 272 })),
    'STEP_INCOMPLETE',
    /says 272 bytes and 256 arrived/,
  ],
  [
    'what both say is too few',
    after(64, commit({ bytes: 64 })),
    'STEP_INCOMPLETE',
    /says 64 bytes and 64 arrived, .* 256$/,
  ],
  [
    'a late initial push',
    after(256, commit({ initial: true })),
    'INITIAL_TOO_LATE',
    /^initial push of step 2: .* step 1$/,
  ],
  [
    'a skipped initial push',
    after(256, commit({ skipped: true, initial: true })),
    'INVALID_FIELD',
    /^commit\.skipped and commit\.initial exclude each other$/,
  ],
  [
    'a skip of another step',
    after(256, commit({ step: 3, skipped: true })),
    'STEP_MISMATCH',
    /^step 3 came while step 2 is being received$/,
  ],
];

async function expectAll<Request>(
  attacks: Attack<Request>[],
  send: (request: Request) => Promise<Upload>,
): Promise<void> {
  for (const [what, request, reason, text] of attacks) {
    const upload = await send(request);
    await expectError(upload.failure(), ERROR_TABLE[reason].code, reason, text).catch((error: Error) => {
      throw new Error(`${what}: ${error.message}`, { cause: error });
    });
  }
}

describe('each message is checked, and the run stays as it is', () => {
  test('the first message', async () => {
    const victim = await Victim.create();
    await expectAll(FIRST, async (messages) => sendAll(new Upload(victim.client), messages));
    await victim.expectUnharmed();
  });

  test('UpdateOpen', async () => {
    const victim = await Victim.create();
    await expectAll(OPEN, async (rest) => new Upload(victim.client).open(victim.generation, rest));
    await victim.expectUnharmed();
  });

  test('Chunk and Commit', async () => {
    const victim = await Victim.create();
    await expectAll(REST, async (messages) => {
      const upload = await openAgain(victim);
      return sendAll(upload, messages);
    });
    await victim.expectUnharmed();
  });
});

test('a bad message ends its own stream only after what was committed before it', async () => {
  const victim = await Victim.create();
  const upload = (await openAgain(victim)).push(1, stepOf(1));
  upload.send({});
  expect(await upload.ack()).toMatchObject({ step: 1, state: 'ALREADY_COMMITTED' });
  await expectError(upload.failure(), 'INVALID_ARGUMENT', 'INVALID_FIELD', /^message is missing/);
  await victim.expectUnharmed();
});

test('a committed step with one other bit ends the stream and changes nothing', async () => {
  const victim = await Victim.create();
  for (const at of [0, 159, 192, 207]) {
    const other = stepOf(1);
    other[at]! ^= 1;
    await expectError(
      (await openAgain(victim)).push(1, other).failure(),
      'ALREADY_EXISTS',
      'STEP_CONFLICT',
      /^step 1 was committed with other content: rewind to a retained version \(resume_step\), or go on with steps after 1$/,
    );
  }
  await victim.expectUnharmed();
});

test('boxes that are odd but legal are taken', async () => {
  const victim = await Victim.create();
  const legal: Record<string, object[]> = {
    'whole and in order': [{}, N],
    'in another order': [N, {}],
    'empty ones among them': [box([40], [0]), N, box([0], [0]), {}],
    'a group of one': [{ replica_group: 2 ** 32 - 1 }, N],
    'an element each': [...Array.from({ length: 40 }, (_, at) => box([39 - at], [1])), N],
  };
  for (const [what, boxes] of Object.entries(legal)) {
    const upload = new Upload(victim.client).open(victim.generation, { boxes });
    expect((await upload.next()).opened, what).toMatchObject({ committed_step: 1, left_out: [] });
    await upload.end();
  }
  await victim.expectUnharmed();
});

test('a second stream of the writer is refused, the first goes on', async () => {
  const victim = await Victim.create();
  const first = await openAgain(victim);
  for (let attempt = 0; attempt < 20; attempt++) {
    const second = new Upload(victim.client).open(victim.generation).push(9, Buffer.alloc(STEP_BYTES));
    await expectError(
      second.failure(),
      'FAILED_PRECONDITION',
      'WRITER_BUSY',
      /^writer 0 of run "r" already has a stream$/,
    );
  }
  await first.end();
  await victim.expectUnharmed();
});

test('a message over the limit is refused by gRPC and ends the stream', async () => {
  const victim = await Victim.create();
  const upload = (await openAgain(victim)).chunk(2, 0, Buffer.alloc(8 << 20));
  await expect(upload.failure()).rejects.toMatchObject({ details: expect.stringMatching(/larger than max/) });
  await victim.expectUnharmed();
});

function sendAll(upload: Upload, messages: UpdateRequest[]): Upload {
  for (const message of messages) upload.send(message);
  return upload;
}

/** A stream that is open: an error comes to its client after its writer is free again. */
async function openAgain({ client, generation }: Victim): Promise<Upload> {
  const upload = new Upload(client).open(generation);
  await upload.next();
  return upload;
}

import { Client, credentials, type ServiceError, status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { shadowWeightsDefinition } from '../../src/protocol/index.js';
import { pictureOf } from '../server/expect-error.js';
import { openRun, rawClient, SMALL, serve } from '../server/harness.js';
import { f32Space, f32Values, read } from '../server/read.js';
import { Upload } from '../server/upload.js';
import { mutate, Random } from './mutate.js';

const SEED = Number(process.env['SHADOWKEEP_SEED'] ?? 20_260_801);

/** Enough for each mutation of each method; few enough for a small machine. */
const CALLS = 1_500;
const PARALLEL_CALLS = 8;

/** A wait that a mutation made long is given up soon; anything else has an answer, however slow the machine is. */
const WAIT_DEADLINE_MS = 2_000;
const ANSWER_DEADLINE_MS = 50_000;

type Method = keyof typeof VALID;

const HALVES = [
  { tensor: 0, offset: [2], extent: [2] },
  { tensor: 0, offset: [0], extent: [2], replica_group: 3 },
];

/** Requests each of which leaves the run `r` as it is, valid or not: what a mutation of a few bytes makes of them may be valid. */
const VALID = {
  OpenRun: [
    { ...SMALL, run: 'r' },
    {
      run: 'fuzz',
      tensors: [
        { name: 'w', dtype: 'F32', shape: [4, 4], policy: 'AVERAGE' },
        { name: 'n', dtype: 'I64' },
      ],
      averages: [{ name: 'ema', start: 'ZEROS', precision: 'F64', constant: { decay: 0.5 }, include: ['*'] }],
      incarnation: 'fuzz',
      non_finite: 'ACCEPT',
    },
    {
      run: 'fuzz2',
      tensors: [
        { name: 'w', dtype: 'F32', shape: [4] },
        { name: 'n', dtype: 'I64' },
      ],
      averages: [
        { name: 'power', start: 'FIRST', power_function: { sigma_rel: 0.1 }, decay_unit: 'PER_STEP' },
        { name: 'ratio', start: 'INITIAL', ratio_warmup: { decay: 0.5 }, delay_updates: 3, every: 2, every_offset: 1 },
        { name: 'inverse', start: 'FIRST', inverse_power: { inv_gamma: 1, power: 0.75, decay_max: 1 }, exclude: ['n'] },
      ],
      policies: [{ pattern: '*', policy: 'COPY' }],
      snapshots: { every_steps: 1, count_max: 2, bytes_max: 1_000 },
    },
    {
      run: 'fuzz3',
      tensors: [{ name: 'w', dtype: 'F32', shape: [2, 3] }],
      averages: [{ name: 'ema', start: 'FIRST', mean: {} }],
      writers: 3,
      incarnation: 'fuzz',
      retain: { every_steps: 2, count_max: 4 },
      resume_step: 7,
      trainer_step: 9,
    },
  ],
  GetRun: [{ run: 'r' }],
  ListRuns: [{}],
  DeleteRun: [{ run: 'nobody' }],
  AddAverage: [
    { run: 'fuzz', average: { name: 'added', start: 'FIRST', cosine: { decay: 0.5, steps: 10 }, include: ['w'] } },
    { run: 'r', average: { name: 'ema', start: 'INITIAL', constant: { decay: 1 }, bias_correction: true } },
  ],
  RemoveAverage: [
    { run: 'fuzz', average: 'added' },
    { run: 'r', average: 'ema' },
  ],
  WatchRun: [{ run: 'r', every: 2 }],
  GetShadow: [
    { run: 'r', average: 'ema', names: ['*', 'w'], dtype: 'BF16', chunk_bytes: 16, checksums: true },
    { run: 'r', resume: { version: 1, offset: 16 }, boxes: [{ tensor: 0, offset: [0], extent: [4] }] },
    { run: 'r', boxes: [{ offset: [1], extent: [2] }, {}, { offset: [0], extent: [4] }], dtype: 'F16' },
    { run: 'r', min_step: 1, wait_ms: 1 },
    { run: 'r', gamma: 6.94, step: 1 },
    { run: 'fuzz2', sigma_rel: 0.1 },
  ],
  Update: [
    { open: { run: 'r', generation: 1, boxes: HALVES, wire_dtype: 'F32', takeover: true } },
    { chunk: { step: 2, offset: 0, crc32c: 1, data: Buffer.alloc(64, 7) } },
    { commit: { step: 1, bytes: 64, initial: true } },
  ],
} as const;

const METHODS = Object.keys(VALID) as Method[];

/** What a server that understands nothing may say; INTERNAL and UNKNOWN would be bugs, and so would silence. */
const ALLOWED = new Set([
  status.OK,
  status.INVALID_ARGUMENT,
  status.NOT_FOUND,
  status.FAILED_PRECONDITION,
  status.ABORTED,
  status.ALREADY_EXISTS,
  status.DATA_LOSS,
  status.RESOURCE_EXHAUSTED,
]);

/** Sends bytes as they are, and gives the status: OK too when an answer came. */
async function call(client: Client, method: Method, messages: readonly Buffer[]): Promise<status> {
  const { path } = shadowWeightsDefinition[method];
  const identity = (bytes: Buffer): Buffer => bytes;
  const deadline = Date.now() + (method === 'GetShadow' ? WAIT_DEADLINE_MS : ANSWER_DEADLINE_MS);
  const stream = client.makeBidiStreamRequest(path, identity, identity, { deadline });
  return await new Promise((resolve) => {
    let hasAnswered = false;
    stream.on('data', () => {
      hasAnswered = true;
      // A watch would go on for ever.
      if (method === 'WatchRun') stream.cancel();
    });
    stream.on('error', ({ code }: ServiceError) => {
      resolve(code === status.CANCELLED && hasAnswered ? status.OK : code);
    });
    stream.on('end', () => resolve(status.OK));
    for (const message of messages) stream.write(message);
    stream.end();
  });
}

function attack(random: Random): { method: Method; messages: Buffer[] } {
  const method = random.pick(METHODS);
  const encode = shadowWeightsDefinition[method].requestSerialize as (request: object) => Buffer;
  const encoded = VALID[method].map((request) => encode(request));
  if (method !== 'Update') return { method, messages: [mutate(random, random.pick(encoded))] };
  // Valid up to one message, so that sessions in each state are hit.
  const [open, ...rest] = encoded;
  const messages = [open, ...Array.from({ length: random.below(3) }, () => random.pick(rest))] as Buffer[];
  return { method, messages: [...messages.slice(random.below(2)), mutate(random, random.pick(encoded))] };
}

test(`random and mutated messages are refused and harm nothing, seed ${SEED}`, async () => {
  console.info(`SHADOWKEEP_SEED=${SEED}`);
  const server = await serve();
  const client = rawClient(server);
  const { generation } = await openRun(client);
  const first = new Upload(client).open(generation).push(1, f32Space([1, 2, 3, 4]));
  await first.ack();
  await first.end();
  const { shadows, states } = (await pictureOf(client)) as { shadows: unknown; states: unknown };

  const random = new Random(SEED);
  const fuzzer = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());
  const codes = new Map<Method, Set<status>>(METHODS.map((method) => [method, new Set()]));
  let left = CALLS;
  const work = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const { method, messages } = attack(random);
      const code = await call(fuzzer, method, messages);
      codes.get(method)?.add(code);
      const sent = messages.map((message) => message.subarray(0, 200).toString('hex')).join(' ');
      if (method === 'GetShadow' && code === status.DEADLINE_EXCEEDED) continue;
      expect(ALLOWED, `${method} of ${sent} was answered ${status[code]}`).toContain(code);
    }
  };
  await Promise.all(Array.from({ length: PARALLEL_CALLS }, work));
  fuzzer.close();
  for (const [method, seen] of codes)
    expect([...seen], `${method} takes and refuses`).toContain(status.INVALID_ARGUMENT);

  expect(await pictureOf(client)).toMatchObject({ committed_step: 1, shadows, states });
  const good = new Upload(client).open((await openRun(client)).generation).push(2, f32Space([3, 4, 5, 8]));
  expect(await good.ack()).toMatchObject({ step: 2, state: 'COMMITTED' });
  await good.end();
  expect(f32Values((await read(client)).bytes, 4)).toEqual([2, 3, 4, 6]);
});

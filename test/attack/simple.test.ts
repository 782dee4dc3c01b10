import { type ServiceError, status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { ERROR_TABLE } from '../../src/common/index.js';
import type { WatchRunRequest } from '../../src/protocol/gen/shadowkeep/v1/WatchRunRequest.js';
import type { ShadowWeightsClient } from '../../src/protocol/index.js';
import { BareCall, frame } from '../server/bare-http2.js';
import { expectError } from '../server/expect-error.js';
import { ask } from '../server/harness.js';
import { type Attack, INEXACT, Victim } from './victim.js';

/** The field `run` of the requests that only name one. */
const NAMES: Attack<{ run: string }>[] = [
  ...['', '.', '..', '../r', 'a..b', 'r\0', '/', 'r/', '__proto__', 'r\n', ' r'].map(
    (run): Attack<{ run: string }> => [
      JSON.stringify(run),
      { run },
      'INVALID_NAME',
      /^run ".*" must match .* and not contain "\.\."$/,
    ],
  ),
  [
    '10 KB',
    { run: 'x'.repeat(10_240) },
    'INVALID_NAME',
    /^run "x{80}…" has 10240 characters, at most 128 are allowed$/,
  ],
  ['an unknown one', { run: 'R' }, 'RUN_NOT_FOUND', /^run "R" does not exist$/],
  ['constructor', { run: 'constructor' }, 'RUN_NOT_FOUND', /^run "constructor" does not exist$/],
];

async function expectAll<Request>(
  attacks: Attack<Request>[],
  send: (request: Request) => Promise<unknown>,
): Promise<void> {
  for (const [what, request, reason, text] of attacks) {
    await expectError(send(request), ERROR_TABLE[reason].code, reason, text).catch((error: Error) => {
      throw new Error(`${what}: ${error.message}`, { cause: error });
    });
  }
}

/** Rejects with the error that ends the watch, and stops one that has begun. */
async function watch(client: ShadowWeightsClient, request: WatchRunRequest): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const stream = client.watchRun(request);
    stream.on('error', (error: ServiceError) => reject(error));
    stream.on('data', () => {
      resolve();
      stream.cancel();
    });
  });
}

test.each(['GetRun', 'DeleteRun'] as const)('%sRequest', async (method) => {
  const victim = await Victim.create();
  await expectAll(NAMES, (request) => ask(victim.client, method, request));
  await victim.expectUnharmed();
});

test('WatchRunRequest', async () => {
  const victim = await Victim.create();
  await expectAll(NAMES, (request) => watch(victim.client, request));
  const every = INEXACT.map(
    (value): Attack<WatchRunRequest> => [
      `every ${value}`,
      { run: 'r', every: value },
      'INVALID_FIELD',
      /^every must be an integer from 0 to 9007199254740991, got \d+$/,
    ],
  );
  await expectAll(every, (request) => watch(victim.client, request));
  await watch(victim.client, { run: 'r', every: 2 ** 53 - 1 });
  await victim.expectUnharmed();
});

test('a DeleteRunRequest that was cut off deletes no run of a shorter name', async () => {
  const victim = await Victim.create();
  const cut = new BareCall(victim.port, 'DeleteRun').send(frame(Buffer.from([0x0a, 5, 'r'.charCodeAt(0)])));
  cut.stream.end();
  expect(await cut.closed()).toMatchObject({ status: status.INVALID_ARGUMENT });
  cut.kill();
  await victim.expectUnharmed();
});

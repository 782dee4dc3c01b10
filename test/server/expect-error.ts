import { type Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { expect } from 'vitest';
import type { ErrorReason } from '../../src/common/index.js';
import type { ShadowWeightsClient } from '../../src/protocol/gen/shadowkeep/v1/ShadowWeights.js';
import { decodeErrorDetails } from '../../src/protocol/index.js';
import { ask, eventually } from './harness.js';
import { read } from './read.js';

/** Asserts the code, the reason and the text of an error, and returns its metadata. */
export async function expectError(
  failing: Promise<unknown>,
  code: keyof typeof status,
  reason: ErrorReason,
  text: RegExp,
): Promise<Readonly<Record<string, string>>> {
  const error = (await failing.then(
    () => expect.fail(`expected ${reason}, got an answer`),
    (thrown) => thrown,
  )) as ServiceError & { metadata?: Metadata };
  const details = error.metadata?.get('grpc-status-details-bin')[0];
  const info = details instanceof Buffer ? decodeErrorDetails(details) : undefined;
  expect({ code: status[error.code], reason: info?.reason, domain: info?.domain, text: error.details }).toEqual({
    code,
    reason,
    domain: 'shadowkeep.dev',
    text: expect.stringMatching(text),
  });
  return info?.metadata ?? {};
}

/**
 * All that clients can see of a run, for comparisons: its state, its bytes, and what the ledger holds. Waits until its
 * open streams are gone.
 */
export async function pictureOf(client: ShadowWeightsClient, run = 'r'): Promise<object> {
  const { generation, committed_step, states, memory, tensors, averages, commits } = await eventually(async () => {
    const now = await ask(client, 'GetRun', { run });
    return now.writers_connected === 0 && now.readers_connected === 0 ? now : undefined;
  });
  const shadows = await Promise.all(
    averages.map(({ name }) =>
      read(client, { run, average: name }).then(
        ({ bytes }) => bytes.toString('hex'),
        (error: ServiceError) => error.code,
      ),
    ),
  );
  return { generation, committed_step, states, memory, tensors, averages, commits, shadows };
}

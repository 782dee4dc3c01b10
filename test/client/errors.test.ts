import { Metadata, type ServiceError, status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { isDisconnect, toFailure } from '../../src/client/errors.js';
import { ClientError, ShadowkeepError } from '../../src/client/index.js';
import { encodeErrorDetails } from '../../src/protocol/index.js';

function serviceError(code: status, details: string, trailer?: Buffer): ServiceError {
  const metadata = new Metadata();
  if (trailer !== undefined) metadata.set('grpc-status-details-bin', trailer);
  return Object.assign(new Error(`${code} ${details}`), { code, details, metadata });
}

test('a reason of the table becomes the error that the server threw', () => {
  const thrown = new ShadowkeepError('CHUNK_GAP', 'chunk starts at byte 32', { metadata: { offset: 32 } });
  const failure = toFailure(serviceError(status.INVALID_ARGUMENT, 'cut off', encodeErrorDetails(thrown, 3)));
  expect(failure).toBeInstanceOf(ShadowkeepError);
  expect(failure).toMatchObject({
    reason: 'CHUNK_GAP',
    code: 'INVALID_ARGUMENT',
    message: 'chunk starts at byte 32',
    metadata: { offset: '32' },
    permanent: true,
  });
});

test('a reason that only a newer server knows is kept', () => {
  const newer = Object.assign(new ShadowkeepError('INTERNAL', 'too new'), { reason: 'FROM_THE_FUTURE' });
  const failure = toFailure(serviceError(status.ABORTED, '', encodeErrorDetails(newer, 10)));
  expect(failure).toBeInstanceOf(ClientError);
  expect(failure).toMatchObject({ reason: 'FROM_THE_FUTURE', code: 'ABORTED', message: 'too new', permanent: false });
});

test.each([
  [status.UNAVAILABLE, 'UNAVAILABLE', false],
  [status.UNAUTHENTICATED, 'UNAUTHENTICATED', true],
  [99 as status, 'UNKNOWN', true],
])('code %s without details is %s', (code, name, permanent) => {
  expect(toFailure(serviceError(code, 'why', Buffer.from('no protobuf')))).toMatchObject({
    name: 'ClientError',
    code: name,
    reason: undefined,
    message: 'why',
    permanent,
  });
});

test('anything else is kept as the cause, and a failure stays what it is', () => {
  const odd = new TypeError('odd');
  expect(toFailure(odd)).toMatchObject({ code: 'INTERNAL', message: 'TypeError: odd', cause: odd });
  const failure = new ClientError('CANCELLED', 'enough');
  expect(toFailure(failure)).toBe(failure);
});

test.each([
  [new ClientError('UNAVAILABLE', 'Connection dropped'), true],
  [new ClientError('CANCELLED', 'Call cancelled'), true],
  [new ClientError('INTERNAL', 'Received RST_STREAM with code 2 (Internal server error)'), true],
  [new ShadowkeepError('SHUTTING_DOWN', 'the service stops'), true],
  [new ShadowkeepError('TRANSPORT_EXHAUSTED', 'the server ended this stream'), true],
  [new ShadowkeepError('TOO_MANY_CONNECTIONS', 'the server has 2 connections'), true],
  [new ShadowkeepError('MEMORY_EXHAUSTED', 'no room for the run'), false],
  [new ShadowkeepError('TOO_MANY_RUNS', 'no room for the run'), false],
  [new ClientError('INTERNAL', 'the server broke the protocol'), false],
  [new ClientError('DEADLINE_EXCEEDED', 'Deadline exceeded'), false],
  [new ClientError('RESOURCE_EXHAUSTED', 'Bandwidth exhausted'), false],
  [new ClientError('CANCELLED', 'of a newer server', { reason: 'SOMETHING_NEW' }), false],
  [new ShadowkeepError('GENERATION_FENCED', 'another trainer'), false],
  [new ShadowkeepError('INTERNAL', 'a bug'), false],
])('only what a connection does can be healed: %s', (failure, isHealed) => {
  expect(isDisconnect(failure)).toBe(isHealed);
});

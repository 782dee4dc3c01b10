import { describe, expect, test } from 'vitest';
import { ShadowkeepError } from '../../src/common/index.js';
import { decodeErrorDetails, encodeErrorDetails } from '../../src/protocol/index.js';

describe('status details', () => {
  test('carry reason, domain, metadata and message', () => {
    const error = new ShadowkeepError('CHUNK_GAP', 'chunk starts at byte 32, 16 was expected', {
      metadata: { offset: 32, tensor: '层.weight' },
      cause: new Error('for the log'),
    });
    const bytes = encodeErrorDetails(error, 3);
    expect(decodeErrorDetails(bytes)).toEqual({
      reason: 'CHUNK_GAP',
      domain: 'shadowkeep.dev',
      metadata: { offset: '32', tensor: '层.weight' },
      message: 'chunk starts at byte 32, 16 was expected',
    });
    expect(bytes.includes('for the log')).toBe(false);
  });

  test('are the bytes that any google.rpc.Status reader expects', () => {
    const bytes = encodeErrorDetails(new ShadowkeepError('INTERNAL', 'no'), 13);
    const info = `0a08494e5445524e414c120e${Buffer.from('shadowkeep.dev').toString('hex')}`;
    const url = Buffer.from('type.googleapis.com/google.rpc.ErrorInfo').toString('hex');
    const any = `0a28${url}121a${info}`;
    expect(bytes.toString('hex')).toBe(`080d12026e6f1a46${any}`);
  });

  test('a message too long for the trailers is cut', () => {
    const bytes = encodeErrorDetails(new ShadowkeepError('INTERNAL', 'x'.repeat(100_000)), 13);
    expect(bytes.length).toBeLessThan(4096);
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['no protobuf', Buffer.from([0xff, 0xff, 0xff])],
    ['a status without details', Buffer.from('0803', 'hex')],
  ])('%s gives undefined', (_, bytes) => {
    expect(decodeErrorDetails(bytes)).toBeUndefined();
  });
});

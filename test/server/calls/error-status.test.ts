import { status } from '@grpc/grpc-js';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { ERROR_TABLE, type ErrorReason, ShadowkeepError } from '../../../src/common/index.js';
import { decodeErrorDetails } from '../../../src/protocol/index.js';
import { toStatus } from '../../../src/server/calls/error-status.js';

/** Makes a real logger whose lines are kept. */
function makeLog() {
  const lines: Record<string, unknown>[] = [];
  const log = pino({ level: 'info' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  return { log, lines };
}

function detailsOf(error: unknown) {
  const { log, lines } = makeLog();
  const { code, details, metadata } = toStatus(error, log);
  const [bytes] = metadata.get('grpc-status-details-bin');
  return { code: status[code], details, info: decodeErrorDetails(bytes as Buffer), lines };
}

describe('an error becomes a status', () => {
  test.each(Object.keys(ERROR_TABLE) as ErrorReason[])('%s: its canonical code, its reason, its values', (reason) => {
    const { code, details, info, lines } = detailsOf(
      new ShadowkeepError(reason, 'what was wrong', { metadata: { step: 7 } }),
    );
    expect({ code, details }).toEqual({ code: ERROR_TABLE[reason].code, details: 'what was wrong' });
    expect(info).toEqual({ reason, domain: 'shadowkeep.dev', metadata: { step: '7' }, message: 'what was wrong' });
    expect(lines).toEqual([]);
  });

  test('what is not ours is INTERNAL: the log gets it all, the peer nothing', () => {
    const { code, details, info, lines } = detailsOf(new TypeError('secret /etc/path'));
    expect({ code, details, reason: info?.reason, message: info?.message }).toEqual({
      code: 'INTERNAL',
      details: 'internal error',
      reason: 'INTERNAL',
      message: 'internal error',
    });
    expect(JSON.stringify(lines)).toContain('secret /etc/path');
  });

  test('a cause goes to the log and never to the peer', () => {
    const cause = new Error('secret cause');
    const { details, info, lines } = detailsOf(new ShadowkeepError('MEMORY_EXHAUSTED', 'no memory', { cause }));
    expect(JSON.stringify({ details, info })).not.toContain('secret');
    expect(JSON.stringify(lines)).toContain('secret cause');
  });
});

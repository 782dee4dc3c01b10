import { describe, expect, test } from 'vitest';
import { Backoff } from '../../src/client/backoff.js';
import { ClientError } from '../../src/client/errors.js';
import { failureOf } from './support.js';

const BROKEN = new ClientError('UNAVAILABLE', 'the last failure');

describe('the deadline', () => {
  test('ends the waits with the last failure', async () => {
    const backoff = new Backoff({ deadlineMs: 50 });
    const waiting = async () => {
      for (;;) await backoff.wait(BROKEN, undefined);
    };
    expect(await failureOf(waiting())).toBe(BROKEN);
    expect(backoff.leftMs).toBeLessThanOrEqual(0);
  });

  test('of zero allows no attempt', async () => {
    expect(await failureOf(new Backoff({ deadlineMs: 0 }).wait(BROKEN, undefined))).toBe(BROKEN);
  });

  test('counts the time without a connection only, until something is achieved', async () => {
    const backoff = new Backoff({ deadlineMs: 1_000 });
    expect(backoff.leftMs).toBe(1_000);
    await backoff.wait(BROKEN, undefined);
    backoff.connected();
    const left = backoff.leftMs;
    expect(left).toBeLessThan(1_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(backoff.leftMs).toBe(left);
    await backoff.wait(BROKEN, undefined);
    expect(backoff.leftMs).toBeLessThan(left);
    backoff.connected();
    backoff.reset();
    expect(backoff.leftMs).toBe(1_000);
  });
});

test('a signal ends a wait with its reason', async () => {
  const controller = new AbortController();
  const backoff = new Backoff({});
  // After some attempts the waits take seconds.
  const waiting = (async () => {
    for (;;) await backoff.wait(BROKEN, controller.signal);
  })();
  controller.abort(new Error('enough'));
  expect((await failureOf(waiting)).message).toBe('enough');
});

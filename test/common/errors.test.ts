import { describe, expect, test } from 'vitest';
import { ERROR_TABLE, type ErrorReason, ShadowkeepError } from '../../src/common/index.js';

describe('ShadowkeepError', () => {
  test.each(Object.keys(ERROR_TABLE) as ErrorReason[])(
    '%s has the code of the table, and says whether to try again',
    (reason) => {
      const error = new ShadowkeepError(reason, 'what was wrong');
      expect({ code: error.code, permanent: error.permanent }).toEqual(ERROR_TABLE[reason]);
      expect(error).toMatchObject({ name: 'ShadowkeepError', reason, message: 'what was wrong', metadata: {} });
    },
  );

  test('what is permanent is never a code that clients retry', () => {
    const retried = ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED'];
    const wrong = Object.entries(ERROR_TABLE).filter(([, { code, permanent }]) => permanent && retried.includes(code));
    expect(wrong).toEqual([]);
  });

  test('its values are strings, as ErrorInfo has them, and its cause is kept apart', () => {
    const cause = new Error('for the log');
    const error = new ShadowkeepError('INTERNAL', 'no', { metadata: { step: 2 ** 52, name: 'w' }, cause });
    expect(error.metadata).toEqual({ step: '4503599627370496', name: 'w' });
    expect(error.cause).toBe(cause);
    expect('cause' in new ShadowkeepError('INTERNAL', 'no')).toBe(false);
  });
});

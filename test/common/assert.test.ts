import { expect, test } from 'vitest';
import { assert, assertNever } from '../../src/common/index.js';

test('a broken invariant says which', () => {
  expect(() => assert(true, 'never said')).not.toThrow();
  expect(() => assert(false, 'pages lie apart')).toThrow('broken invariant: pages lie apart');
  expect(() => assertNever('x' as never)).toThrow('broken invariant: unexpected value x');
});

import { describe, expect, test } from 'vitest';
import { CHUNK_BYTES, CHUNK_BYTES_MAX, PATTERN_COUNT_MAX, toEnd, WAIT_MS_MAX } from '../../../src/common/index.js';
import { selectNames, validateGetShadow } from '../../../src/server/messages/index.js';
import { arrivedRead, refused } from './requests.js';

const validate = (request: object) => validateGetShadow(arrivedRead({ run: 'r', ...request }));

describe('a GetShadowRequest', () => {
  test('asks for the newest version of everything unless it says otherwise', () => {
    expect(validate({})).toEqual({
      run: 'r',
      average: '',
      wish: { kind: 'latest' },
      waitMs: 0,
      names: [],
      boxes: undefined,
      dtype: undefined,
      chunkBytes: CHUNK_BYTES,
      checksums: false,
      gamma: undefined,
    });
  });

  test('asks for parts of tensors by boxes, and for none by name then', () => {
    const { boxes } = validate({ boxes: [{ tensor: 1, offset: [0], extent: [2] }] });
    expect(boxes).toMatchObject({ count: 1, tensor: Uint32Array.of(1), dims: Uint32Array.of(0, 2) });
    expect(refused(() => validate({ boxes: [{ tensor: 1 }], names: ['w'] }))).toEqual({
      reason: 'INVALID_FIELD',
      message: 'names and boxes exclude each other',
      field: 'names',
    });
  });

  test('asks for a combination by its exponent or its relative width, and names no average then', () => {
    expect(validate({ gamma: 6.94 }).gamma).toBe(6.94);
    // The widths 5 % and 10 % correspond to the exponents 16.97 and 6.94 (Karras et al. 2023, section 3).
    expect(validate({ sigma_rel: 0.1 }).gamma).toBeCloseTo(6.94, 2);
    expect(validate({ sigma_rel: 0.05 }).gamma).toBeCloseTo(16.97, 2);
    expect(validate({ sigma_rel: 1 / Math.sqrt(12) }).gamma, 'the plain average').toBeCloseTo(0, 6);
    expect(refused(() => validate({ gamma: 1, average: 'a' }))).toEqual({
      reason: 'INVALID_FIELD',
      message: 'average must be empty with gamma, got "a"',
      field: 'average',
    });
  });

  test.each([
    [{ step: 0 }, { kind: 'step', step: 0 }],
    [{ min_step: 7 }, { kind: 'min_step', step: 7 }],
    [{ resume: { version: 3, offset: 32 } }, { kind: 'resume', version: 3, offset: 32 }],
    [{ resume: {} }, { kind: 'resume', version: 0, offset: 0 }],
  ])('%j is a wish', (request, wish) => {
    expect(validate(request).wish).toEqual(wish);
  });

  test('has bounds that are reached and not passed', () => {
    expect(
      validate({
        wait_ms: WAIT_MS_MAX,
        chunk_bytes: CHUNK_BYTES_MAX,
        dtype: 'BF16',
        names: new Array(PATTERN_COUNT_MAX).fill('*'),
      }),
    ).toMatchObject({
      waitMs: WAIT_MS_MAX,
      chunkBytes: CHUNK_BYTES_MAX,
      dtype: 'BF16',
    });
    expect(validate({ chunk_bytes: 16 }).chunkBytes).toBe(16);
    for (const [field, request] of [
      ['wait_ms', { wait_ms: WAIT_MS_MAX + 1 }],
      ['chunk_bytes', { chunk_bytes: CHUNK_BYTES_MAX + 16 }],
      ['chunk_bytes', { chunk_bytes: 8 }],
      ['chunk_bytes', { chunk_bytes: 40 }],
      ['dtype', { dtype: 'I8' }],
      ['resume.offset', { resume: { offset: 8 } }],
      ['names length', { names: new Array(PATTERN_COUNT_MAX + 1).fill('*') }],
      ['names[1] length', { names: ['a', 'x'.repeat(1_025)] }],
      ['sigma_rel', { sigma_rel: 0.2887 }],
      ['sigma_rel', { sigma_rel: 9e-7 }],
      ['sigma_rel', { sigma_rel: Number.NaN }],
      ['gamma', { gamma: -Number.MIN_VALUE }],
      ['gamma', { gamma: 1_000_001 }],
      ['gamma', { gamma: Number.NaN }],
    ] as const) {
      expect(refused(() => validate(request))).toMatchObject({ reason: 'INVALID_FIELD', field });
    }
  });
});

describe('a selection by names', () => {
  const tensors = ['a.weight', 'a.bias', 'b.weight', 'a.ignored'].map((name) => ({ name }));
  const select = (patterns: string[]) => toEnd(selectNames(patterns, tensors, (index) => index < 3));
  const selected = (patterns: string[]): string[] => {
    const selection = select(patterns);
    if (selection === 'ALL') throw new Error('it is everything');
    return tensors.filter((_, index) => selection(index)).map(({ name }) => name);
  };

  test('without patterns is everything', () => {
    expect(select([])).toBe('ALL');
  });

  test('is what any pattern matches and the average has', () => {
    expect(selected(['*.bias', 'b*'])).toEqual(['a.bias', 'b.weight']);
    expect(selected(['a.weight'])).toEqual(['a.weight']);
    expect(selected(['a.weight', '*bias', 'a.weight'])).toEqual(['a.weight', 'a.bias']);
    expect(selected(['a.*'])).toEqual(['a.weight', 'a.bias']);
  });

  test('with a pattern that matches nothing is refused, a starred one and a plain one alike', () => {
    for (const pattern of ['c*', 'a.weights', 'a.i*', 'a.ignored']) {
      expect(refused(() => select(['a*', pattern]))).toEqual({
        reason: 'INVALID_FIELD',
        message: `names[1] "${pattern}" matches no tensor of the run`,
        field: 'names[1]',
      });
    }
  });
});

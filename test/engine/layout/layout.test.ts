import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, FLOAT_DTYPES, type FloatDType, toEnd } from '../../../src/common/index.js';
import type { TensorSpec } from '../../../src/engine/index.js';
import { compareTensors, placeTensors, wireDTypeOf } from '../../../src/engine/layout/layout.js';
import { planWire, refusal, tensor } from '../fixtures.js';
import { countOf, inWireOrder } from '../model/naive-run.js';
import { Random } from '../model/random.js';
import { sampleSpec } from '../model/samples.js';

const SEED = 20_250_612;
const specs = fc.nat().map((seed) => sampleSpec(new Random(seed), 'r').tensors);
const wires = fc.constantFrom<FloatDType | undefined>(undefined, ...FLOAT_DTYPES);

describe('placement', () => {
  test(`tensors of one space lie apart in their order, each 64-byte aligned in its own dtype, seed ${SEED}`, () => {
    fc.assert(
      fc.property(specs, (tensors) => {
        const layout = placeTensors(tensors);
        for (const policy of ['AVERAGE', 'COPY'] as const) {
          const inSpace = (one: TensorSpec): boolean => one.policy.startsWith(policy);
          const placed = inWireOrder([...layout.tensors]).filter(inSpace);
          const lengthOf = ({ count, bytes }: (typeof placed)[0]): number => (policy === 'AVERAGE' ? count : bytes);
          let end = 0;
          for (const one of placed) {
            expect(one.flat).toBeGreaterThanOrEqual(end);
            expect((one.flat * (policy === 'AVERAGE' ? DTYPE_BYTES[one.dtype] : 1)) % 64).toBe(0);
            end = one.flat + lengthOf(one);
          }
          expect(policy === 'AVERAGE' ? layout.averagedLength : layout.copiedLength).toBeGreaterThanOrEqual(end);
        }
        const averaged = [...layout.tensors].filter(({ policy }) => policy === 'AVERAGE');
        expect(layout.averagedElements).toBe(averaged.reduce((sum, one) => sum + countOf(one), 0));
      }),
      { seed: SEED, numRuns: 200 },
    );
  });
});

describe('the wire plan', () => {
  test(`brings each element of the byte space to its place, and touches nothing else, seed ${SEED}`, () => {
    fc.assert(
      fc.property(specs, wires, (tensors, wireDType) => {
        const layout = placeTensors(tensors);
        const plan = planWire(layout, wireDType);
        const placeOf = new Map<string, string>();
        for (const { stepOffset, flat, count, dtype } of [...plan.segments, ...plan.onceSegments]) {
          const size = dtype === undefined ? 1 : DTYPE_BYTES[dtype];
          for (let i = 0; i < count; i++) placeOf.set(`${stepOffset + i * size}`, `${dtype ?? 'copied'} ${flat + i}`);
          expect(stepOffset + count * size).toBeLessThanOrEqual(plan.firstStepBytes);
        }
        let offset = 0;
        const misplaced: string[] = [];
        const placed = [...layout.tensors];
        for (const one of inWireOrder(placed)) {
          const dtype = wireDTypeOf(layout, placed.indexOf(one), wireDType);
          const isCopied = one.policy !== 'AVERAGE';
          const size = isCopied ? 1 : DTYPE_BYTES[dtype];
          const count = isCopied ? one.bytes : one.count;
          for (let i = 0; i < count; i++) {
            const place = `${isCopied ? 'copied' : dtype} ${one.flat + i}`;
            if (placeOf.get(`${offset + i * size}`) !== place) misplaced.push(`${one.name} ${i}: ${place}`);
          }
          offset += Math.ceil((count * size) / 64) * 64;
        }
        expect(misplaced).toEqual([]);
        expect(plan.firstStepBytes).toBe(offset);
      }),
      { seed: SEED, numRuns: 60 },
    );
  });

  test('ten thousand small tensors of one dtype are one segment', () => {
    const tensors = Array.from({ length: 10_000 }, (_, index) => tensor(`t${index}`, [1 + (index % 50)]));
    expect(planWire(placeTensors(tensors)).segments).toHaveLength(1);
  });

  test('tensors of several dtypes and policies keep their segments apart', () => {
    const tensors = [
      tensor('a', [3]),
      tensor('b', [3], { dtype: 'F16' }),
      tensor('c', [3], { dtype: 'I64', policy: 'COPY' }),
      tensor('d', [3]),
      tensor('e', [3], { policy: 'IGNORE' }),
      tensor('f', [3]),
      tensor('g', [0, 9]),
    ];
    const { segments, stepBytes } = planWire(placeTensors(tensors));
    expect([...segments].map(({ dtype, stepOffset, count }) => [dtype, stepOffset, count])).toEqual([
      ['F32', 0, 3],
      ['F16', 64, 3],
      [undefined, 128, 24],
      ['F32', 192, 19],
    ]);
    expect(stepBytes).toBe(320);
  });
});

describe('the tensors of a second OpenRun', () => {
  const ours = [tensor('a', [2, 3]), tensor('b', [4], { dtype: 'I32', policy: 'COPY' })];
  const compare = (theirs: TensorSpec[]) => toEnd(compareTensors('r', ours, theirs));

  test('are the same when all fields are', () => {
    expect(compare(structuredClone(ours))).toBeUndefined();
  });

  test('may come in another order: it is said where in the run each of them is', () => {
    const three = [...ours, tensor('c', [])];
    const theirs = [three[2]!, three[0]!, three[1]!];
    expect([...toEnd(compareTensors('r', three, theirs))!]).toEqual([2, 0, 1]);
    const other = [three[2]!, tensor('a', [3, 2]), three[1]!];
    expect(() => toEnd(compareTensors('r', three, other))).toThrow(/tensor 0 "a" has shape \[2,3\], \[3,2\]/);
  });

  test.each<[string, TensorSpec[], RegExp]>([
    ['one is missing', ours.slice(0, 1), /run "r": tensor 1 "b" is missing in the request/],
    ['one more', [...ours, tensor('c', [])], /tensor 2 "c" is not in the run/],
    ['another name', [tensor('x', [2, 3]), ours[1]!], /tensor 0 "a" is "x" in the request/],
    ['another name in another order', [ours[1]!, tensor('x', [2, 3])], /tensor 0 "a" is "b"/],
    ['another dtype', [tensor('a', [2, 3], { dtype: 'BF16' }), ours[1]!], /"a" has dtype F32, BF16 in the request/],
    [
      'another shape of the same size',
      [tensor('a', [3, 2]), ours[1]!],
      /"a" has shape \[2,3\], \[3,2\] in the request/,
    ],
    ['another rank', [tensor('a', [2, 3, 1]), ours[1]!], /"a" has shape \[2,3\], \[2,3,1\]/],
    [
      'another policy',
      [tensor('a', [2, 3], { policy: 'COPY' }), ours[1]!],
      /"a" has policy AVERAGE, COPY in the request/,
    ],
  ])('differ: %s', (_, theirs, text) => {
    expect(() => compare(theirs)).toThrow(expect.toSatisfy(refusal('LAYOUT_MISMATCH', text)));
  });

  test('the first difference is the one that is named', () => {
    const theirs = [tensor('a', [9]), tensor('x', [9])];
    expect(() => compare(theirs)).toThrow(/tensor 0 "a" has shape/);
  });
});

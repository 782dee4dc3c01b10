import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DTYPE_BYTES, FLOAT_DTYPES, type FloatDType, PRECISIONS, toEnd } from '../../../src/common/index.js';
import { BoxList, planRead, readBytes, readElements, writeElements } from '../../../src/engine/index.js';
import type { Box } from '../../../src/engine/world/index.js';
import { randomBits } from '../../kernels/elements.js';
import { nearestCode, rounded } from '../../kernels/oracle.js';
import {
  attach,
  ema,
  entriesOf,
  f32,
  f64,
  makeRun,
  planOf,
  push,
  readAll,
  refusal,
  space,
  tensor,
} from '../fixtures.js';
import { box, elementsOf, randomBox } from '../world/naive.js';

const SEED = 20_250_613;
/** Several pages of 4 KiB, odd counts, a scalar, an empty one, and copied ones in between. */
const TENSORS = [
  tensor('a', [1_500]),
  tensor('n', [], { dtype: 'I64', policy: 'COPY' }),
  tensor('b', [0, 5]),
  tensor('c', []),
  tensor('d', [3, 700], { dtype: 'F64' }),
  tensor('m', [5_000], { dtype: 'U8', policy: 'COPY' }),
  tensor('x', [4], { policy: 'IGNORE' }),
  tensor('e', [7], { dtype: 'BF16' }),
];
const OPTIONS = { pageBytesMax: 4_096, arenaBytesMax: 448 * 1_024 };

const values = (count: number, seed: number): number[] =>
  Array.from({ length: count }, (_, i) => Math.sin(i * seed) * 3 ** (i % 20));
const a = f32(...values(1_500, 0.7));
const c = f32(-0);
const d = f64(...values(2_100, 1.3));
const e = Uint16Array.from(values(7, 2.1), (value) => nearestCode(value, 'BF16'));
const m = Uint8Array.from({ length: 5_000 }, (_, i) => i);
const n = new Uint8Array(BigInt64Array.of(-5n).buffer);
const step = space(a, n, c, d, m, e);

async function makeRead(precision: 'F32' | 'F64') {
  const { run } = makeRun(TENSORS, [ema('a', 0.5, 'FIRST', precision)], OPTIONS);
  attach(run);
  await push(run, 1, step);
  return run;
}

function encode(numbers: ArrayLike<number>, dtype: FloatDType): Buffer {
  const bytes = Buffer.alloc(numbers.length * DTYPE_BYTES[dtype]);
  Array.from(numbers).forEach((value, i) => {
    if (dtype === 'F64') bytes.writeDoubleLE(value, i * 8);
    else if (dtype === 'F32') bytes.writeFloatLE(value, i * 4);
    else bytes.writeUInt16LE(nearestCode(value, dtype), i * 2);
  });
  return bytes;
}

describe.each(PRECISIONS)('a read of an %s shadow', (precision) => {
  test.each([undefined, ...FLOAT_DTYPES])('as %s: rounded once, copied tensors as they came', async (dtype) => {
    const run = await makeRead(precision);
    const as = dtype ?? precision;
    const shadow = (numbers: ArrayLike<number>): Uint8Array =>
      encode(
        Array.from(numbers, (value) => rounded(value, precision)),
        as,
      );
    const decodedE = Array.from(e, (code) => new Float32Array(Uint32Array.of(code * 65_536).buffer)[0]!);
    const expected = space(shadow(a), n, shadow(c), shadow(d), m, shadow(decodedE));
    expect(readAll(run, 0, dtype === undefined ? {} : { dtype })).toEqual(expected);
  });

  test(`any piece of it is that piece of the whole, seed ${SEED}`, async () => {
    const run = await makeRead(precision);
    const plans = [undefined, ...FLOAT_DTYPES].map((dtype) => planOf(run, run.head, 0, () => true, dtype));
    const wholes = plans.map((plan) => {
      const whole = Buffer.alloc(plan.tensors.totalBytes);
      toEnd(readBytes(plan, 0, whole));
      return whole;
    });
    fc.assert(
      fc.property(fc.nat(plans.length - 1), fc.nat(), fc.nat(300), (which, from, length) => {
        const whole = wholes[which]!;
        const begin = 16 * (from % (whole.length / 16));
        const piece = Buffer.alloc(Math.min(16 * (length + 1), whole.length - begin), 0xa5);
        toEnd(readBytes(plans[which]!, begin, piece));
        expect(piece.equals(whole.subarray(begin, begin + piece.length))).toBe(true);
      }),
      { seed: SEED, numRuns: 300 },
    );
  });
});

test('a selection has its own byte space, in the order of the layout', async () => {
  const run = await makeRead('F32');
  expect(readAll(run, 0, { names: ['m', 'c'] })).toEqual(space(f32(-0), m));
  const plan = planOf(run, run.head, 0, (name) => name === 'm' || name === 'b');
  expect(entriesOf(plan).map(({ tensor: { name }, readOffset, bytes }) => [name, readOffset, bytes])).toEqual([
    ['b', 0, 0],
    ['m', 0, 5_000],
  ]);
  expect(planOf(run, run.head, 0, (name) => name === 'x')).toMatchObject({
    tensors: { count: 0, totalBytes: 0 },
  });
});

describe('a read of boxes', () => {
  const boxesOf = (run: Awaited<ReturnType<typeof makeRead>>, boxes: readonly Box[], dtype?: FloatDType) =>
    toEnd(planRead(run.layout, run.head, run.head.shadows[0]!, BoxList.of(boxes), dtype));

  test(`has their elements in the order of the boxes, whichever piece is read, seed ${SEED}`, async () => {
    const run = await makeRead('F32');
    const random = randomBits(SEED);
    for (let round = 0; round < 60; round++) {
      const dtype = [undefined, 'F16', 'F64'] as const;
      const as = dtype[round % 3];
      const whole = planOf(run, run.head, 0, () => true, as);
      const all = Buffer.alloc(whole.tensors.totalBytes);
      toEnd(readBytes(whole, 0, all));
      const boxes = Array.from({ length: random() % 6 }, () => {
        const index = [0, 1, 2, 3, 4, 5, 7][random() % 7]!;
        return box([], [], { tensor: index, ...(random() % 3 === 0 ? {} : randomBox(TENSORS[index]!.shape, random)) });
      });
      const expected = boxes.map((one) => {
        const { dtype: read, readOffset } = entriesOf(whole).find(
          ({ tensor: { name } }) => name === TENSORS[one.tensor]!.name,
        )!;
        const size = DTYPE_BYTES[read];
        const elements = elementsOf(TENSORS[one.tensor]!.shape, one);
        return Buffer.concat(elements.map((at) => all.subarray(readOffset + at * size, readOffset + (at + 1) * size)));
      });
      const plan = boxesOf(run, boxes, as);
      expect(entriesOf(plan).map(({ bytes }) => bytes)).toEqual(expected.map(({ length }) => length));
      const found = Buffer.alloc(plan.tensors.totalBytes, 0xa5);
      for (let at = 0; at < found.length; ) {
        const piece = found.subarray(at, at + 16 * (1 + (random() % 200)));
        toEnd(readBytes(plan, at, piece));
        at += piece.length;
      }
      expect({ boxes, same: found.equals(space(...expected)) }).toEqual({ boxes, same: true });
    }
  });

  test('of a tensor that is not kept is refused', async () => {
    const run = await makeRead('F32');
    expect(() => boxesOf(run, [box([], []), box([], [], { tensor: 6 })])).toThrow(
      expect.toSatisfy(refusal('INVALID_FIELD', /^boxes\[1\] is of tensor "x", which this average does not take$/)),
    );
  });
});

test('what is written back tensor by tensor is read again', async () => {
  const from = await makeRead('F64');
  const { run: to } = makeRun(TENSORS, [ema('a', 0.5, 'FIRST', 'F64')], OPTIONS);
  for (const { tensor: one, bytes } of entriesOf(planOf(from, from.head, 0))) {
    const tableOf = ({ head }: typeof from) => (one.policy === 'AVERAGE' ? head.shadows[0]! : head.copied);
    const [source, target] = [tableOf(from), tableOf(to)];
    for (let at = 0; at < bytes; at += 1_000) {
      const piece = new Uint8Array(Math.min(1_000, bytes - at));
      const flat = one.flat + at / source.plane.elementBytes;
      readElements(source.table, source.plane, flat, source.plane.dtype, piece);
      writeElements(target.table, target.plane, flat, piece);
    }
  }
  expect(readAll(to)).toEqual(readAll(from));
});

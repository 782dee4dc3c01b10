import type { DType } from '../../../src/common/index.js';
import { toEnd } from '../../../src/common/index.js';
import { type Layout, planRead, type ReadPlan, readBytes, type Version } from '../../../src/engine/index.js';
import { entriesOf } from '../fixtures.js';
import type { NaiveRun, NaiveVersion, Numbers } from './naive-run.js';
import type { Random } from './random.js';

/** Reads every average of a version, in pieces of a random size, and compares it with the naive one. */
export function checkVersion(
  layout: Layout,
  run: NaiveRun,
  version: Version,
  naive: NaiveVersion,
  random: Random,
): void {
  same(version.step, naive.step, 'step');
  sameAll(
    version.shadows.map(({ state }) => state.numUpdates),
    naive.numUpdates,
    'updates',
  );
  for (const [average, shadow] of version.shadows.entries()) {
    const plan = toEnd(planRead(layout, version, shadow, 'ALL'));
    checkRead(plan, run.space(naive, average), 16 * random.between(1, 600), version.step);
  }
}

/** Compares the bytes of a read, which comes in pieces, with those that it should have. */
export function checkRead(plan: ReadPlan, expected: Buffer, pieceBytes: number, step: number | undefined): void {
  const found = Buffer.alloc(expected.length, 0xa5);
  same(plan.tensors.totalBytes, expected.length, 'bytes of a read');
  for (let at = 0; at < found.length; at += pieceBytes) toEnd(readBytes(plan, at, found.subarray(at, at + pieceBytes)));
  if (!found.equals(expected)) explain(plan, found, expected, step);
}

/** Any NaN is the same NaN; everything else is told with its place, gaps too. */
function explain(plan: ReadPlan, found: Buffer, expected: Buffer, step: number | undefined): void {
  const gaps = Uint8Array.from(found);
  for (const { tensor, dtype, readOffset, bytes } of entriesOf(plan)) {
    gaps.fill(0, readOffset, readOffset + bytes);
    const [a, b] = [found, expected].map(
      (space) => Uint8Array.from(space.subarray(readOffset, readOffset + bytes)).buffer,
    );
    const as = tensor.policy === 'AVERAGE' ? dtype : 'U8';
    sameAll(numbersOf(a!, as), numbersOf(b!, as), `tensor ${tensor.name} of step ${step}`);
  }
  same(
    gaps.findIndex((byte) => byte !== 0),
    -1,
    'gap that is not zero',
  );
}

function numbersOf(buffer: ArrayBuffer, dtype: DType): Numbers | Uint8Array {
  if (dtype === 'F32') return new Float32Array(buffer);
  return dtype === 'F64' ? new Float64Array(buffer) : new Uint8Array(buffer);
}

// Plain comparisons: these run a million times, an `expect` takes microseconds.

export function same(found: unknown, expected: unknown, what: string): void {
  if (!Object.is(found, expected)) throw new Error(`${what}: ${found}, not ${expected}`);
}

export function sameAll(found: ArrayLike<unknown>, expected: ArrayLike<unknown>, what: string): void {
  same(found.length, expected.length, `number of ${what}`);
  for (let i = 0; i < found.length; i++)
    if (!Object.is(found[i], expected[i])) same(found[i], expected[i], `${what} [${i}]`);
}

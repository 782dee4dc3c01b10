import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { spaceBytes, stepLayout, withoutLeftOut } from '../../src/client/step-layout.js';
import type { BoxSpec } from '../../src/client/types.js';
import { type FloatDType, isFloatDType, toEnd } from '../../src/common/index.js';
import { BoxList, type TensorSpec } from '../../src/engine/index.js';
import { type Layout, placeTensors } from '../../src/engine/layout/layout.js';
import { planningWire } from '../../src/engine/layout/wire-plan.js';
import { Part } from '../../src/engine/world/part.js';
import { layOut } from '../../src/protocol/index.js';
import { validateBoxes } from '../../src/server/messages/validate-boxes.js';

/*
 * What byte-space.json says of where bytes lie, and which boxes are none, held against the service and the Node.js client;
 * python/tests/test_byte_space.py does the same with the Python client.
 */

type Tensor = Omit<TensorSpec, 'policy'> & Partial<Pick<TensorSpec, 'policy'>>;

interface Space {
  readonly what: string;
  /** Default: those of all cases. */
  readonly tensors?: readonly Tensor[];
  readonly wireDtype?: FloatDType;
  readonly boxes?: readonly BoxSpec[];
  /** Boxes that other writers send, by index. */
  readonly leftOut?: readonly number[];
  /** Tensor, offset and bytes of what is sent, in the order of the byte space. */
  readonly places: readonly (readonly [string, number, number])[];
  readonly stepBytes: number;
  readonly firstStepBytes: number;
}

interface BoxCase {
  readonly what: string;
  readonly box: BoxSpec;
  readonly isRefused?: boolean;
}

const CASES: {
  readonly tensors: readonly Tensor[];
  readonly spaces: readonly Space[];
  readonly boxes: readonly BoxCase[];
  /** What the encoding of a message cannot even say. */
  readonly clientBoxes: readonly BoxCase[];
} = JSON.parse(readFileSync(new URL('byte-space.json', import.meta.url), 'utf8'));

function layoutOf(tensors = CASES.tensors): Layout {
  return placeTensors(
    tensors.map((tensor) => ({ policy: isFloatDType(tensor.dtype) ? 'AVERAGE' : 'COPY', ...tensor })),
  );
}

function boxList({ tensors }: Layout, boxes: readonly BoxSpec[]): BoxList {
  const names = Array.from(tensors, ({ name }) => name);
  return BoxList.of(
    boxes.map(({ tensor, offset = [], extent = [], replicaGroup = 0 }) => {
      return { tensor: names.indexOf(tensor), offset, extent, replicaGroup };
    }),
  );
}

describe.each(CASES.spaces)('the byte space of $what', ({ tensors, wireDtype, boxes, leftOut = [], ...space }) => {
  test('is that of the service', () => {
    const layout = layoutOf(tensors);
    const plan = toEnd(planningWire(layout, wireDtype));
    const part =
      boxes === undefined
        ? toEnd(Part.whole(plan))
        : toEnd(Part.of(boxList(layout, boxes), plan, (index) => !leftOut.includes(index)));
    const { stepBytes, firstStepBytes } = space;
    expect(part).toMatchObject({ stepBytes, firstStepBytes });
    const sentBytes = space.places.reduce((sum, [, , bytes]) => sum + bytes, 0);
    // A span may go on over the gap between two places.
    const coveredBytes = [...part.runs(firstStepBytes)].reduce((sum, { length }) => sum + length, 0);
    expect(coveredBytes).toBeGreaterThanOrEqual(sentBytes);
    if (boxes !== undefined) return;
    const placed = Array.from({ length: plan.boxes.count }, (_, index) => plan.boxes.at(index));
    expect(placed.map(({ tensor, stepOffset, bytes }) => [layout.tensors.nameOf(tensor), stepOffset, bytes])).toEqual(
      space.places,
    );
  });

  test('is that of the client', () => {
    const writers = boxes === undefined ? 1 : 2;
    const options = { tensors: tensors ?? CASES.tensors, writers, boxes, wireDtype };
    const { eachStep, once } = withoutLeftOut(stepLayout(options), leftOut);
    const sent = [...eachStep, ...once];
    const { offsets, lengths, totalBytes } = layOut(sent.map(({ bytes }) => bytes));
    const places = sent.map(({ name }, index) => [name, offsets[index], lengths[index]]);
    expect(places.filter(([, , bytes]) => bytes !== 0)).toEqual(space.places);
    expect([spaceBytes(eachStep), totalBytes]).toEqual([space.stepBytes, space.firstStepBytes]);
  });
});

describe('a box', () => {
  test.each(CASES.boxes)('$what, as the service has it', ({ box, isRefused = false }) => {
    const layout = layoutOf();
    const check = (): void => toEnd(validateBoxes('boxes', boxList(layout, [box]), layout.tensors));
    if (isRefused) expect(check).toThrow(expect.objectContaining({ reason: 'INVALID_FIELD' }));
    else check();
  });

  test.each([...CASES.boxes, ...CASES.clientBoxes])('$what, as the client has it', ({ box, isRefused = false }) => {
    const check = () => stepLayout({ tensors: CASES.tensors, writers: 2, boxes: [box] });
    if (isRefused) expect(check).toThrow(expect.objectContaining({ reason: 'INVALID_FIELD' }));
    else check();
  });
});

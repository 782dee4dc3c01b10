import { describe, expect, test } from 'vitest';
import { toEnd } from '../../../src/common/index.js';
import { BoxList } from '../../../src/engine/index.js';
import { placeTensors } from '../../../src/engine/layout/layout.js';
import type { Box } from '../../../src/engine/world/index.js';
import { Replicas } from '../../../src/engine/world/replicas.js';
import { randomBits } from '../../kernels/elements.js';
import { tensor } from '../fixtures.js';
import { box, shuffled } from './naive.js';

const SEED = 20_261_130;
const { tensors } = placeTensors([tensor('w', [1_000, 10]), tensor('v', [1_000, 10])]);

const rows = (from: number, count: number, replicaGroup = 1): Box => box([from, 0], [count, 10], { replicaGroup });

const replicasOf = (held: readonly (readonly Box[])[]): Replicas => {
  return new Replicas(tensors, held.map(BoxList.of), held.flat().length);
};

/** What each writer leaves to others, when each holds these boxes and sends so many elements besides. */
function leftOut(held: readonly (readonly Box[])[], sent = held.map(() => 0)): number[][] {
  const replicas = replicasOf(held);
  for (const [writer, boxes] of held.entries()) {
    for (const index of boxes.keys()) replicas.join(writer, index);
  }
  return toEnd(replicas.leftOut(sent)).map((left) => [...left.keys()].filter((index) => left[index] === 1));
}

const elementsOf = ({ extent }: Box): number => extent.reduce((product, count) => product * count, 1);

/** Elements that each writer sends. */
function loads(held: readonly (readonly Box[])[], left: readonly (readonly number[])[]): number[] {
  return held.map((boxes, writer) => {
    const own = boxes.filter((_, index) => left[writer]?.includes(index) !== true);
    return own.reduce((sum, one) => sum + elementsOf(one), 0);
  });
}

describe('who sends a box that several hold', () => {
  test(`exactly one of them; nobody sends more than one box beyond another, seed ${SEED}`, () => {
    const random = randomBits(SEED);
    for (let round = 0; round < 300; round++) {
      let next = 0;
      const boxes = Array.from({ length: 1 + (random() % 20) }, () => {
        const count = 1 + (random() % 40);
        next += count;
        return rows(next - count, count);
      });
      const held = Array.from({ length: 2 + (random() % 6) }, () => shuffled(boxes, random));
      const left = leftOut(held);
      const senders = held.flatMap((own, writer) => own.filter((_, index) => left[writer]?.includes(index) !== true));
      expect(senders.toSorted((a, b) => a.offset[0]! - b.offset[0]!)).toEqual(boxes);
      const elements = loads(held, left);
      const largest = Math.max(...boxes.map(elementsOf));
      expect(Math.max(...elements) - Math.min(...elements)).toBeLessThanOrEqual(largest);
    }
  });

  test('who has less to send anyway; of equals the first', () => {
    const both = [[rows(0, 5)], [rows(0, 5)]];
    expect(leftOut(both)).toEqual([[], [0]]);
    expect(leftOut(both, [1, 0])).toEqual([[0], []]);
    // The largest first: with it writer 0 sends 60 elements, so that writer 2 with its 55 has less to send.
    expect(leftOut([[rows(0, 5), rows(5, 6)], [rows(5, 6)], [rows(0, 5)]], [0, 0, 55])).toEqual([[0], [0], []]);
  });
});

describe('a replica', () => {
  const list = [
    rows(0, 5),
    rows(0, 5, 2),
    rows(0, 6),
    rows(1, 5),
    { ...rows(0, 5), tensor: 1 },
    rows(0, 5),
    box([], [], { replicaGroup: 1 }),
    rows(0, 1_000),
  ];

  test('is the same box of the same tensor and group, however it is written', () => {
    const replicas = replicasOf([list, list]);
    expect(Array.from({ length: 7 }, (_, index) => replicas.join(0, index))).toEqual(Array(7).fill(false));
    // The sixth is the first once more: nobody is one's own replica. The seventh is the whole tensor, as the eighth.
    expect([0, 1, 2, 3, 4, 7].map((index) => replicas.join(1, index))).toEqual(Array(6).fill(true));
    expect(replicas.join(1, 5)).toBe(false);
  });

  test('is told from others with extents beyond 32 bits', () => {
    const { tensors: wide } = placeTensors([tensor('v', [2 ** 40], { dtype: 'U8', policy: 'COPY' })]);
    const one = [box([0], [1], { replicaGroup: 1 }), box([2 ** 32], [1], { replicaGroup: 1 })].map((part) => [part]);
    const replicas = new Replicas(wide, one.map(BoxList.of), 2);
    expect([0, 1].map((writer) => replicas.join(writer, 0))).toEqual([false, false]);
  });
});

import { describe, expect, test } from 'vitest';
import { type Box, BoxList, placeTensors } from '../../../src/engine/index.js';
import { Replicas } from '../../../src/engine/world/replicas.js';
import { randomBits } from '../../kernels/elements.js';
import { tensor } from '../fixtures.js';
import { box, shuffled } from './naive.js';

const SEED = 20_261_130;
const { tensors } = placeTensors([tensor('w', [1_000, 10]), tensor('v', [1_000, 10])]);

const rows = (from: number, count: number, replicaGroup = 1): Box => box([from, 0], [count, 10], { replicaGroup });

/** What each writer leaves to others, when each holds these boxes and sends so many elements besides. */
function leftOut(held: readonly (readonly Box[])[], sent = held.map(() => 0)): number[][] {
  const replicas = new Replicas(tensors);
  for (const [writer, boxes] of held.entries()) {
    for (const index of boxes.keys()) replicas.join(BoxList.of(boxes), index, writer);
  }
  const left = replicas.leftOut(sent);
  return held.map((_, writer) => [...(left.get(writer) ?? [])].sort((a, b) => a - b));
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

  test('does not hang on who came first', () => {
    const random = randomBits(SEED);
    const held = [
      [rows(0, 9), rows(9, 8), rows(17, 7)],
      [rows(9, 8), rows(0, 9)],
      [rows(17, 7), rows(9, 8), rows(30, 2)],
      [rows(30, 2), rows(0, 9), rows(17, 7)],
    ];
    const expected = leftOut(held);
    expect(loads(held, expected).reduce((sum, load) => sum + load)).toBe(260);
    for (let round = 0; round < 20; round++) {
      const replicas = new Replicas(tensors);
      for (const writer of shuffled([0, 1, 2, 3], random)) {
        for (const index of held[writer]!.keys()) replicas.join(BoxList.of(held[writer]!), index, writer);
      }
      const left = replicas.leftOut([0, 0, 0, 0]);
      expect(held.map((_, writer) => [...(left.get(writer) ?? [])].sort((a, b) => a - b))).toEqual(expected);
    }
  });
});

describe('a replica', () => {
  const list = BoxList.of([
    rows(0, 5),
    rows(0, 5, 2),
    rows(0, 6),
    rows(1, 5),
    { ...rows(0, 5), tensor: 1 },
    rows(0, 5),
    box([], [], { replicaGroup: 1 }),
    rows(0, 1_000),
  ]);

  test('is the same box of the same tensor and group, however it is written', () => {
    const replicas = new Replicas(tensors);
    expect(replicas.isEmpty).toBe(true);
    expect(Array.from({ length: 7 }, (_, index) => replicas.join(list, index, 0))).toEqual(Array(7).fill(false));
    expect(replicas.isEmpty).toBe(false);
    // The sixth is the first once more: nobody is one's own replica. The seventh is the whole tensor, as the eighth.
    expect([0, 1, 2, 3, 4, 7].map((index) => replicas.join(list, index, 1))).toEqual(Array(6).fill(true));
  });

  test('is there until the last has left; who was never a member leaves nothing', () => {
    const replicas = new Replicas(tensors);
    for (const writer of [0, 1, 2]) replicas.join(list, 0, writer);
    expect(replicas.leave(list, 5, 0)).toBe(false);
    expect(replicas.leave(list, 0, 3)).toBe(false);
    expect([1, 0].map((writer) => replicas.leave(list, 0, writer))).toEqual([true, true]);
    expect(replicas.leftOut([0, 0, 0])).toEqual(new Map());
    expect(replicas.leave(list, 0, 2)).toBe(false);
    expect(replicas.isEmpty).toBe(true);
    expect(replicas.join(list, 0, 1)).toBe(false);
  });
});

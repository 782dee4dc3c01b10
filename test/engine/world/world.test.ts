import { describe, expect, test } from 'vitest';
import { type ShadowkeepError, toEnd } from '../../../src/common/index.js';
import { BoxList, type TensorSpec } from '../../../src/engine/index.js';
import { placeTensors } from '../../../src/engine/layout/layout.js';
import { Ledger } from '../../../src/engine/memory/ledger.js';
import { type Box, World } from '../../../src/engine/world/index.js';
import { MIB, refusal, tensor } from '../fixtures.js';
import { box, targetsOf } from './naive.js';

const TENSORS = [tensor('w', [4, 6]), tensor('n', [3], { dtype: 'I64', policy: 'COPY' })];

/** Rows of w; n is with the first of them. */
const rows = (from: number, count: number): Box[] => [box([from, 0], [count, 6])];
/** Where it begins and its length. */
const SPAN_BYTES = 16;
const counter = box([], [], { tensor: 1 });

function makeWorld(writerCount: number, tensors: readonly TensorSpec[] = TENSORS, budgetBytes = MIB) {
  const ledger = new Ledger(budgetBytes);
  return { world: new World('r', placeTensors(tensors), writerCount, ledger), ledger };
}

function declareAll(world: World, lists: readonly (readonly Box[] | undefined)[]): void {
  for (const [writer, boxes] of lists.entries()) world.declare(writer, boxes && BoxList.of(boxes), undefined);
}

function prove(world: World): void {
  expect(toEnd(world.proving())).toBe(true);
}

describe('a world', () => {
  test('is proved when all have declared, and knows what each sends', () => {
    const { world } = makeWorld(3);
    const lists = [[...rows(2, 2), counter], [], rows(0, 2)];
    expect(world.missing).toEqual([0, 1, 2]);
    world.declare(2, BoxList.of(lists[2]!), undefined);
    expect(world.missing).toEqual([0, 1]);
    expect(() => prove(world)).toThrow('broken invariant');
    declareAll(world, lists);
    expect(world).toMatchObject({ missing: [], isProved: false });
    prove(world);
    expect(world.isProved).toBe(true);
    for (const [writer, boxes] of lists.entries()) {
      const { part, leftOut } = world.partOf(writer);
      expect(leftOut).toEqual([]);
      expect(part.stepBytes).toBe(targetsOf(boxes, world.plan).stepBytes);
    }
  });

  test('of one writer without boxes is the whole layout; among several such a writer sends nothing', () => {
    const { world: alone } = makeWorld(1);
    declareAll(alone, [undefined]);
    prove(alone);
    expect(alone.partOf(0).part.stepBytes).toBe(alone.plan.stepBytes);
    const { world: several } = makeWorld(2);
    declareAll(several, [undefined, [box([], []), counter]]);
    prove(several);
    expect([0, 1].map((writer) => several.partOf(writer).part.stepBytes)).toEqual([0, several.plan.stepBytes]);
  });

  test('boxes of replica groups count once, and others are told what they leave out', () => {
    const { world } = makeWorld(3);
    const halves = [box([0, 0], [2, 6]), box([2, 0], [2, 6])].map((one) => ({ ...one, replicaGroup: 7 }));
    declareAll(world, [[...halves, counter], halves.toReversed(), halves]);
    prove(world);
    // Writer 0 sends the counter too, so the others send the halves.
    const parts = [0, 1, 2].map((writer) => world.partOf(writer));
    expect(parts.map(({ leftOut }) => leftOut)).toEqual([[0, 1], [0], [0]]);
    expect(parts.map(({ part }) => part.stepBytes)).toEqual([64, 64, 64]);
  });

  test('who goes before all have come takes the boxes along', () => {
    const { world, ledger } = makeWorld(2);
    const group = { replicaGroup: 1 };
    declareAll(world, [[box([], [], group), counter]]);
    world.declare(1, BoxList.of([box([], [], group), box([1], [1], { tensor: 1 })]), undefined);
    world.withdraw(1);
    expect(world.missing).toEqual([1]);
    world.withdraw(1);
    world.withdraw(0);
    expect({ missing: world.missing, used: ledger.usedBytes }).toEqual({ missing: [0, 1], used: 0 });
    declareAll(world, [rows(0, 4), [counter]]);
    prove(world);
    expect(world.isProved).toBe(true);
  });
});

describe('a world that is no whole', () => {
  const fault = (lists: readonly (readonly Box[])[], tensors?: readonly TensorSpec[]): ShadowkeepError => {
    const { world, ledger } = makeWorld(lists.length, tensors);
    declareAll(world, lists);
    try {
      prove(world);
    } catch (error) {
      // Nobody has declared any more.
      expect({ missing: world.missing.length, used: ledger.usedBytes }).toEqual({ missing: lists.length, used: 0 });
      return error as ShadowkeepError;
    }
    return expect.fail('it was proved');
  };

  test('has a gap, and says where', () => {
    const gap = fault([rows(0, 1), [...rows(2, 2), counter]]);
    expect(gap).toSatisfy(
      refusal('BOX_GAP', /^run "r": element \[1,0\] of tensor "w" of shape \[4,6\] is in no box of its 2 writers$/),
    );
    expect(gap.metadata).toEqual({ tensor: 'w', element: '1,0', boxCount: '0' });
    expect(fault([rows(0, 2), rows(2, 2)])).toSatisfy(refusal('BOX_GAP', /element \[0\] of tensor "n" of shape \[3\]/));
    expect(fault([[], []], [tensor('s', [])])).toSatisfy(
      refusal('BOX_GAP', /element \[\] of tensor "s" of shape \[\]/),
    );
  });

  test('has an overlap, and says where and of how many', () => {
    const overlap = fault([[...rows(0, 3), counter], rows(2, 2), [box([2, 3], [1, 2])]]);
    expect(overlap).toSatisfy(
      refusal(
        'BOX_OVERLAP',
        /^run "r": element \[2,0\] of tensor "w" of shape \[4,6\] is in 2 boxes of its 3 writers$/,
      ),
    );
    expect(overlap.metadata).toEqual({ tensor: 'w', element: '2,0', boxCount: '2' });
    const whole = box([], []);
    expect(fault([[whole, counter], [whole], [whole]])).toSatisfy(refusal('BOX_OVERLAP', /\[0,0\].* is in 3 boxes/));
  });

  test('has one box of a group twice from one writer, or in two groups', () => {
    const whole = box([], [], { replicaGroup: 1 });
    expect(fault([[whole, whole, counter]])).toSatisfy(refusal('BOX_OVERLAP', /is in 2 boxes/));
    expect(fault([[whole, counter], [{ ...whole, replicaGroup: 2 }]])).toSatisfy(refusal('BOX_OVERLAP', /is in 2/));
  });
});

describe('a writer that declares again', () => {
  test('says the same, before and after the proof', () => {
    const { world, ledger } = makeWorld(2);
    declareAll(world, [rows(0, 2)]);
    const used = ledger.usedBytes;
    declareAll(world, [rows(0, 2)]);
    expect(ledger.usedBytes).toBe(used);
    const changed = refusal(
      'BOXES_CHANGED',
      /^writer 0 of run "r" declares other boxes than before in this generation/,
    );
    expect(() => declareAll(world, [rows(0, 3)])).toThrow(expect.toSatisfy(changed));
    declareAll(world, [rows(0, 2), [...rows(2, 2), counter]]);
    prove(world);
    declareAll(world, [rows(0, 2)]);
    expect(() => declareAll(world, [undefined])).toThrow(expect.toSatisfy(changed));
    expect(world.isProved).toBe(true);
  });

  test('sends the dtype of the others, unless it is the first', () => {
    const { world } = makeWorld(2);
    world.declare(0, BoxList.of(rows(0, 2)), 'BF16');
    for (const [dtype, text] of [
      ['F32', /^writer 1 of run "r" sends F32, the others BF16$/],
      [undefined, /^writer 1 of run "r" sends the layout's dtypes, the others BF16$/],
    ] as const) {
      const attempt = () => world.declare(1, BoxList.of(rows(2, 2)), dtype);
      expect(attempt).toThrow(expect.toSatisfy(refusal('WRITERS_MISMATCH', text)));
    }
    expect(world.missing).toEqual([1]);
    world.withdraw(0);
    world.declare(1, BoxList.of([...rows(2, 2), counter]), 'F32');
    world.declare(0, BoxList.of(rows(0, 2)), 'F32');
    prove(world);
    expect(world.plan.wireDType).toBe('F32');
  });
});

describe('the memory of declarations', () => {
  test('is that of the boxes until the proof, then of the parts; it goes with the world', () => {
    const { world, ledger } = makeWorld(3);
    const shared = { ...counter, replicaGroup: 1 };
    const lists = [rows(0, 2), [...rows(2, 2), shared], [shared]];
    declareAll(world, lists);
    expect(ledger.usedBytes).toBe(lists.reduce((sum, boxes) => sum + BoxList.of(boxes).bytes, 0));
    prove(world);
    expect(ledger.usedBytes).toBe([0, 1, 2].reduce((sum, writer) => sum + world.partOf(writer).part.bytes, 0));
    expect(ledger.usedBytes).toBe(3 * SPAN_BYTES);
    world.withdraw(0);
    expect(world.missing).toEqual([]);
    world.reset();
    expect({ used: ledger.usedBytes, missing: world.missing, isProved: world.isProved }).toEqual({
      used: 0,
      missing: [0, 1, 2],
      isProved: false,
    });
  });

  test('that is not there: the writer is refused and has not declared', () => {
    const first = BoxList.of(rows(0, 2));
    const { world, ledger } = makeWorld(2, TENSORS, first.bytes + 10);
    world.declare(0, first, undefined);
    const refused = refusal('MEMORY_EXHAUSTED', /^boxes of run "r" needs \d+ bytes, 10 of the server's/);
    expect(() => world.declare(1, BoxList.of(rows(2, 2)), undefined)).toThrow(expect.toSatisfy(refused));
    expect({ missing: world.missing, used: ledger.usedBytes }).toEqual({ missing: [1], used: first.bytes });
  });

  test('that is not there for the proof, or for what comes of it: all is as it was declared', () => {
    const lists = [rows(0, 2), [...rows(2, 2), counter]];
    const bytes = lists.reduce((sum, boxes) => sum + BoxList.of(boxes).bytes, 0);
    const { world: tight, ledger } = makeWorld(2, TENSORS, bytes + 10);
    declareAll(tight, lists);
    expect(() => toEnd(tight.proving())).toThrow(expect.toSatisfy(refusal('MEMORY_EXHAUSTED', /^boxes of run "r"/)));
    expect({ missing: tight.missing, used: ledger.usedBytes }).toEqual({ missing: [], used: bytes });
    const { world, ledger: roomy } = makeWorld(2);
    declareAll(world, lists);
    const refuse = (): void => {
      throw new Error('no room for a step');
    };
    expect(() => toEnd(world.proving(refuse))).toThrow('no room for a step');
    expect({ isProved: world.isProved, used: roomy.usedBytes }).toEqual({ isProved: false, used: bytes });
    prove(world);
  });
});

describe('a proof in slices', () => {
  /** One box each of more tensors than one slice takes. */
  const COUNT = 10_000;
  const many = Array.from({ length: COUNT }, (_, index) => tensor(`t${index}`, [2]));
  const halves = [0, 1].map((half) => Array.from({ length: COUNT }, (_, index) => box([half], [1], { tensor: index })));

  function setUp() {
    const { world, ledger } = makeWorld(2, many, 64 * MIB);
    declareAll(world, halves);
    return { world, ledger, declaredBytes: ledger.usedBytes };
  }

  /** Each place where it yields. */
  const yieldCount = (() => {
    const work = setUp().world.proving();
    let count = 0;
    while (work.next().done !== true) count += 1;
    return count;
  })();

  test('proves nothing that has changed between two of them, and leaves no trace', () => {
    expect(yieldCount).toBeGreaterThan(2 * (COUNT / 4_096));
    for (let after = 1; after <= yieldCount; after++) {
      const { world, ledger, declaredBytes } = setUp();
      const work = world.proving(() => expect.fail('it is no whole any more'));
      for (let slice = 0; slice < after; slice++) expect(work.next().done).toBe(false);
      if (after % 2 === 0) world.reset();
      else world.withdraw(1);
      expect(work.next()).toEqual({ done: true, value: false });
      expect(world).toMatchObject({ isProved: false, missing: after % 2 === 0 ? [0, 1] : [1] });
      expect(ledger.usedBytes).toBe(after % 2 === 0 ? 0 : declaredBytes / 2);
      declareAll(world, halves);
      prove(world);
    }
  });
});

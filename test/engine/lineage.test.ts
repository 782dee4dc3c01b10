import { describe, expect, test } from 'vitest';
import { Lineage } from '../../src/engine/lineage.js';
import { refusal } from './fixtures.js';

/** Numbers of one server: 1, 2 … */
function newLineage(): Lineage {
  let issued = 0;
  return new Lineage('r', () => {
    issued += 1;
    return issued;
  });
}

function attach(lineage: Lineage, incarnation: string, writers: number): number {
  const next = lineage.next(incarnation, writers);
  if (next !== undefined) lineage.restore(next);
  return lineage.generation;
}

describe('a lineage', () => {
  test('a new life opens a generation, a known one gets its own, an empty one takes part', () => {
    const lineage = newLineage();
    expect([lineage.generation, attach(lineage, '', 0), attach(lineage, '', 0)]).toEqual([0, 1, 1]);
    expect([attach(lineage, 'a', 0), attach(lineage, 'a', 0), attach(lineage, '', 0)]).toEqual([2, 2, 2]);
    expect([attach(lineage, 'b', 0), attach(lineage, '', 0), lineage.generation]).toEqual([3, 3, 3]);
    expect(() => attach(lineage, 'a', 0)).toThrow(
      expect.toSatisfy(refusal('GENERATION_FENCED', /^generation 2 of run "r" was fenced, 3 is open: /)),
    );
    expect(lineage.generation).toBe(3);
  });

  test('only the newest generation passes', () => {
    const lineage = newLineage();
    attach(lineage, 'a', 0);
    attach(lineage, 'b', 0);
    expect(() => lineage.check(2)).not.toThrow();
    expect(() => lineage.check(1)).toThrow(expect.toSatisfy(refusal('GENERATION_FENCED', /generation 1/)));
    expect(() => lineage.check(3)).toThrow(
      expect.toSatisfy(refusal('GENERATION_UNKNOWN', /^run "r" has no generation 3, 2 is open: it is of another run/)),
    );
    expect(lineage.fencedError(41)).toMatchObject({
      reason: 'GENERATION_FENCED',
      message: expect.stringMatching(/taken over after step 41, .*: end it, or give it a run of its own$/),
      metadata: { generation: '2' },
    });
    expect(lineage.fencedError(undefined).message).toMatch(/taken over before the run's first commit, /);
  });

  test('is restored with all it knew', () => {
    const lineage = newLineage();
    for (const life of ['a', 'b']) attach(lineage, life, 0);
    const copy = newLineage();
    copy.restore(JSON.parse(JSON.stringify(lineage.state)));
    expect(copy.state).toEqual(lineage.state);
    expect(attach(copy, 'b', 0)).toBe(2);
    expect(() => attach(copy, 'a', 0)).toThrow('was fenced');
    expect(attach(copy, 'c', 0)).toBe(3);
  });

  test('keeps the generation that created the run; one that was kept without it stays without', () => {
    const lineage = newLineage();
    expect(lineage.firstGeneration).toBeUndefined();
    for (const life of ['', 'a', 'b']) attach(lineage, life, 0);
    const copy = newLineage();
    copy.restore(JSON.parse(JSON.stringify(lineage.state)));
    attach(copy, 'c', 0);
    expect([lineage.firstGeneration, copy.firstGeneration, copy.generation]).toEqual([1, 1, 4]);
    const older = newLineage();
    older.restore({ generation: 1, firstGeneration: undefined, writers: 1, incarnations: [['a', 1]] });
    attach(older, 'b', 0);
    expect([older.firstGeneration, older.state.firstGeneration]).toEqual([undefined, undefined]);
  });

  test('names of lives that are names of other things are lives', () => {
    const lineage = newLineage();
    expect(
      ['__proto__', 'constructor', '__proto__'].map((life, index) =>
        index < 2 ? attach(lineage, life, 0) : lineage.generation,
      ),
    ).toEqual([1, 2, 2]);
  });
});

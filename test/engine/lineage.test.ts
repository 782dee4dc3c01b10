import { describe, expect, test } from 'vitest';
import { Lineage } from '../../src/engine/lineage.js';
import { refusal } from './fixtures.js';

describe('a lineage', () => {
  test('a new life opens a generation, a known one gets its own, an empty one takes part', () => {
    const lineage = new Lineage('r');
    expect([lineage.generation, lineage.attach('', 0), lineage.attach('', 0)]).toEqual([0, 1, 1]);
    expect([lineage.attach('a', 0), lineage.attach('a', 0), lineage.attach('', 0)]).toEqual([2, 2, 2]);
    expect([lineage.attach('b', 0), lineage.attach('', 0), lineage.generation]).toEqual([3, 3, 3]);
    expect(() => lineage.attach('a', 0)).toThrow(
      expect.toSatisfy(refusal('GENERATION_FENCED', /^generation 2 of run "r" was fenced, 3 is open$/)),
    );
    expect(lineage.generation).toBe(3);
  });

  test('only the newest generation passes', () => {
    const lineage = new Lineage('r');
    lineage.attach('a', 0);
    lineage.attach('b', 0);
    expect(() => lineage.check(2)).not.toThrow();
    expect(() => lineage.check(1)).toThrow(expect.toSatisfy(refusal('GENERATION_FENCED', /generation 1/)));
    expect(() => lineage.check(3)).toThrow(
      expect.toSatisfy(refusal('GENERATION_UNKNOWN', /^run "r" has no generation 3, 2 is open$/)),
    );
    expect(lineage.fencedError()).toMatchObject({ reason: 'GENERATION_FENCED', metadata: { generation: '2' } });
  });

  test('is restored with all it knew', () => {
    const lineage = new Lineage('r');
    for (const life of ['a', 'b']) lineage.attach(life, 0);
    const copy = new Lineage('r');
    copy.restore(JSON.parse(JSON.stringify(lineage.state)));
    expect(copy.state).toEqual(lineage.state);
    expect(copy.attach('b', 0)).toBe(2);
    expect(() => copy.attach('a', 0)).toThrow('was fenced');
    expect(copy.attach('c', 0)).toBe(3);
  });

  test('names of lives that are names of other things are lives', () => {
    const lineage = new Lineage('r');
    expect(
      ['__proto__', 'constructor', '__proto__'].map((life, index) =>
        index < 2 ? lineage.attach(life, 0) : lineage.generation,
      ),
    ).toEqual([1, 2, 2]);
  });
});

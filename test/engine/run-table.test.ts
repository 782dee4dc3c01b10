import { describe, expect, test } from 'vitest';
import { RUN_COUNT_MAX } from '../../src/common/index.js';
import { RunTable } from '../../src/engine/index.js';
import type { RunSpec } from '../../src/engine/run-spec.js';
import { attach, f32, MIB, MODE, mean, push, refusal, space, specOf, tensor } from './fixtures.js';

const spec = (name: string): RunSpec => specOf(name, [tensor('w', [1])], [mean('a')]);

describe('the table of runs', () => {
  test('opens a run once, gives it again, and forgets it when it is deleted', () => {
    const table = new RunTable(MIB, MODE);
    const { run, created } = table.open(spec('r'));
    expect(created).toBe(true);
    expect(table.open(spec('r'))).toEqual({ run, created: false, order: undefined });
    expect(table.find('r')).toBe(run);
    const { layoutBytes } = run.memory;
    expect(layoutBytes).toBeGreaterThan(0);
    expect(table.delete('r')).toBe(8_192 + layoutBytes);
    expect(run.isDeleted).toBe(true);
    expect(table.ledger.usedBytes).toBe(0);
    expect(table.find('r')).toBeUndefined();
    for (const attempt of [() => table.get('r'), () => table.delete('r')]) {
      expect(attempt).toThrow(expect.toSatisfy(refusal('RUN_NOT_FOUND', /^run "r" does not exist$/)));
    }
    expect(table.open(spec('r')).run).not.toBe(run);
  });

  test('lists in the order of names', () => {
    const table = new RunTable(MIB, MODE);
    for (const name of ['b', 'B', 'a10', 'a1']) table.open(spec(name));
    expect(table.list().map((run) => run.spec.name)).toEqual(['B', 'a1', 'a10', 'b']);
  });

  test('a run that is refused is not there', () => {
    const table = new RunTable(10_000, MODE);
    expect(() => table.open(spec('r'))).toThrow('are free');
    expect({ run: table.find('r'), usedBytes: table.ledger.usedBytes }).toEqual({ run: undefined, usedBytes: 0 });
  });

  test('what a request leaves out is whatever the run has', () => {
    const table = new RunTable(MIB, MODE);
    const { run } = table.open({ ...spec('r'), nonFinite: undefined });
    expect(run.spec.nonFinite).toBe('REJECT_STEP');
    expect(table.open({ ...spec('r'), nonFinite: undefined }).run).toBe(run);
    expect(table.open({ ...spec('r'), nonFinite: 'REJECT_STEP' }).run).toBe(run);
    expect(() => table.open({ ...spec('r'), nonFinite: 'ACCEPT' })).toThrow(
      expect.toSatisfy(refusal('AVERAGES_MISMATCH', /run "r" has nonFinite "REJECT_STEP", "ACCEPT" in the request/)),
    );
  });

  test('another layout and other averages are told apart', () => {
    const table = new RunTable(MIB, MODE);
    table.open(spec('r'));
    expect(() => table.open({ ...spec('r'), tensors: [tensor('w', [2])] })).toThrow(
      expect.toSatisfy(refusal('LAYOUT_MISMATCH', /shape/)),
    );
    expect(() => table.open({ ...spec('r'), averages: [mean('b')] })).toThrow(
      expect.toSatisfy(refusal('AVERAGES_MISMATCH', /average 0 "a"/)),
    );
  });

  test(`holds ${RUN_COUNT_MAX} runs, each with its arena, and says so to the next`, () => {
    const table = new RunTable(64 * MIB, MODE);
    for (let index = 0; index < RUN_COUNT_MAX; index++) table.open(spec(`r${index}`));
    expect(() => table.open(spec('more'))).toThrow(
      expect.toSatisfy(refusal('TOO_MANY_RUNS', /^the server holds 1000 runs, at most 1000 are allowed$/)),
    );
    expect(table.open(spec('r0')).created).toBe(false);
    table.delete('r0');
    expect(table.open(spec('more')).created).toBe(true);
  });

  test('no two versions have the same id: not in two runs, not in a run and the one of its name that came before', async () => {
    const table = new RunTable(MIB, MODE, 1_000);
    const ids: number[] = [];
    for (let life = 0; life < 3; life++) {
      for (const name of ['a', 'b']) {
        const { run } = table.open(spec(name));
        attach(run);
        ids.push(run.head.id);
        for (const step of [1, 2]) {
          await push(run, step, space(f32(step)));
          ids.push(run.head.id);
        }
      }
      table.delete('a');
      table.delete('b');
    }
    expect(new Set(ids).size).toBe(ids.length);
    expect(Math.min(...ids)).toBe(1_000);
  });
});

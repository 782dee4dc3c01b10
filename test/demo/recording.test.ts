import { describe, expect, test } from 'vitest';
import type { Pulled } from '../../src/demo/evaluator.js';
import { Recording, type Row } from '../../src/demo/recording.js';
import { summarize } from '../../src/demo/summary.js';
import type { Trained } from '../../src/demo/trainer.js';

const trained = (step: number): Trained => ({
  kind: 'trained',
  step,
  ...(step === 0 ? {} : { loss: 1 / step }),
  accuracyRaw: 0.9,
  reference: Float64Array.of(step, -step),
  errorBound: 1e-6 * step,
});

const pulled = (step: number, change: Partial<Pulled> = {}): Pulled => ({
  kind: 'pulled',
  step,
  numUpdates: step,
  accuracyEma: 0.95,
  values: Float32Array.of(step, -step),
  bytes: 8,
  ...change,
});

/** Steps 0 … 200, each 20th pulled: a demo as it should be. */
function record(change: (recording: Recording) => void = () => {}): Recording {
  const recording = new Recording(() => {});
  recording.opened = { kind: 'opened', stepBytes: 64 };
  for (let step = 0; step <= 200; step += 1) {
    recording.addTrained(trained(step));
    if (step % 20 === 0 && step < 200) recording.addPulled(pulled(step));
  }
  recording.acknowledged = { kind: 'acknowledged', steps: 200, seconds: 1 };
  change(recording);
  return recording;
}

const run = { committedStep: 200, states: [{ name: 'ema', numUpdates: 200, weight: 0.01 }] };
const setup = { steps: 200, seed: 1 };
const withLast = (last: Pulled) => record((recording) => recording.addPulled(last));

describe('Recording', () => {
  test('pairs pulls with the trainer, whichever reports first, in the order of the pulls', () => {
    const rows: Row[] = [];
    const recording = new Recording((row) => rows.push(row));
    recording.addPulled(pulled(0));
    recording.addTrained(trained(1));
    recording.addPulled(pulled(1));
    expect(rows).toEqual([]);
    expect(recording.unmatchedCount).toBe(2);
    recording.addTrained(trained(0));
    recording.addTrained(trained(2));
    recording.addTrained(trained(3));
    recording.addPulled(pulled(3, { values: Float32Array.of(3, -3.5) }));
    expect(rows.map(({ step, loss, difference }) => [step, loss, difference])).toEqual([
      [0, undefined, 0],
      [1, 1, 0],
      [3, 1 / 3, 0.5],
    ]);
    expect(recording.unmatchedCount).toBe(0);
    expect(recording.pulledBytes).toBe(24);
  });
});

describe('summarize', () => {
  test('a demo as it should be is OK', () => {
    const summary = summarize(setup, withLast(pulled(200)), run);
    expect(summary.checks.filter(({ ok }) => !ok)).toEqual([]);
    expect(summary).toMatchObject({
      ok: true,
      steps: 200,
      accuracyRaw: 0.9,
      accuracyRawMedian: 0.9,
      accuracyEma: 0.95,
    });
    expect(summary.pushedBytes).toBe(201 * 64);
    expect(summary.pulledBytes).toBe(11 * 8);
  });

  test.each<[string, Recording, typeof run, RegExp]>([
    [
      'a step that was not acknowledged',
      record((recording) => {
        recording.acknowledged = { kind: 'acknowledged', steps: 199, seconds: 1 };
        recording.addPulled(pulled(200));
      }),
      run,
      /199 of 200 pushes/,
    ],
    ['another committed step', withLast(pulled(200)), { ...run, committedStep: 201 }, /step 201/],
    [
      'a step folded twice',
      withLast(pulled(200)),
      { ...run, states: [{ ...run.states[0]!, numUpdates: 201 }] },
      /201 updates/,
    ],
    ['no last step', record(), run, /step 180 at its end/],
    ['a pull of an unknown step', withLast(pulled(201)), run, /step 180 at its end/],
    ['too many updates', withLast(pulled(200, { numUpdates: 201 })), run, /not step 200: 201/],
    ['a wrong weight', withLast(pulled(200, { values: Float32Array.of(200, -200.01) })), run, /float32 rounding/],
    ['a missing weight', withLast(pulled(200, { values: Float32Array.of(200) })), run, /float32 rounding/],
    ['an EMA that does not help', withLast(pulled(200, { accuracyEma: 0.88 })), run, /not less accurate/],
  ])('%s is seen', (_, recording, state, text) => {
    const summary = summarize(setup, recording, state);
    expect(summary.ok).toBe(false);
    expect(summary.checks.filter(({ ok }) => !ok).map((check) => check.text)).toEqual([expect.stringMatching(text)]);
  });

  test('an evaluator that pulled only the end did not follow', () => {
    const recording = new Recording(() => {});
    for (let step = 0; step <= 200; step += 1) recording.addTrained(trained(step));
    recording.addPulled(pulled(200));
    recording.acknowledged = { kind: 'acknowledged', steps: 200, seconds: 1 };
    const failed = summarize(setup, recording, run).checks.filter(({ ok }) => !ok);
    expect(failed.map(({ text }) => text)).toEqual([expect.stringMatching(/pulled 0 steps during/)]);
  });

  test('nothing pulled is nothing to judge', () => {
    expect(() => summarize(setup, new Recording(() => {}), run)).toThrow('pulled no step');
  });
});

import { AVERAGE_DEFAULTS } from '../dist/common/index.js';
import { MovementMeter } from '../dist/engine/fold/movement.js';
import { RunTable } from '../dist/engine/index.js';
import { createKernels } from '../dist/kernels/index.js';
import { interleave, ratios } from './harness/pairs.mjs';
import { withProcesses } from './harness/processes.mjs';

/** Elements of the model. Float32 weights and three shadows have 512 MiB together, many times the size of a cache. */
const ELEMENTS = 1 << 25;
const QUICK_ELEMENTS = 1 << 14;
const SECONDS = 0.6;
const QUICK_SECONDS = 0.02;
const CHUNK_BYTES = 1 << 20;
const BUDGET_BYTES = 8 * 2 ** 30;

const ema = (name, decay, rest = {}) => ({
  ...AVERAGE_DEFAULTS,
  name,
  schedule: { kind: 'constant', decay },
  start: 'ZEROS',
  ...rest,
});
const THREE = [ema('a', 0.999), ema('b', 0.9999), ema('c', 0.99)];

/** Measures what further averages and the checks of weights cost a fold. torch folds as many shadows for comparison. */
export const averages = {
  name: 'averages',
  needs: ['numpy', 'torch'],
  targets: [
    { figure: 'three_vs_one', at_most: 2.2 },
    { figure: 'movement_vs_fold', at_most: 0.05 },
  ],

  async run({ pairs, quick, progress, ...context }) {
    const elements = quick ? QUICK_ELEMENTS : ELEMENTS;
    const seconds = quick ? QUICK_SECONDS : SECONDS;
    return await withProcesses(context, async (start) => {
      const torch = start.peer('torch_foreach.py');
      const torchFold = (count) => async () =>
        1 / (await torch.call('fold', { dtype: 'F32', elements, seconds, averages: count }));
      const measured = await interleave(
        pairs,
        {
          one: () => commitCost([ema('a', 0.999)], elements, seconds),
          three: () => commitCost(THREE, elements, seconds),
          one_f64: () => commitCost([ema('a', 0.999, { precision: 'F64' })], elements, seconds),
          step_one: () => stepCost([ema('a', 0.999)], elements, seconds),
          step_three: () => stepCost(THREE, elements, seconds),
          torch_one: torchFold(1),
          torch_three: torchFold(3),
          movement: () => movementCost(elements, seconds),
          finite: async () => finiteCost(elements, seconds),
        },
        progress,
      );
      const {
        one,
        three,
        one_f64: oneF64,
        step_one: stepOne,
        step_three: stepThree,
        torch_one: torchOne,
        torch_three: torchThree,
        movement,
        finite,
      } = measured;
      return {
        samples: {
          'ns_per_element.one': one,
          'ns_per_element.three': three,
          'ns_per_element.one_f64': oneF64,
          'ns_per_element.step_one': stepOne,
          'ns_per_element.step_three': stepThree,
          'ns_per_element.torch_one': torchOne,
          'ns_per_element.torch_three': torchThree,
          'ns_per_element.finite': finite,
          'ns_per_element.movement': movement,
          three_vs_one: ratios(three, one),
          step_three_vs_one: ratios(stepThree, stepOne),
          f64_vs_f32: ratios(oneF64, one),
          torch_three_vs_one: ratios(torchThree, torchOne),
          vs_torch_three: ratios(torchThree, three),
          movement_vs_fold: ratios(movement, one),
          finite_vs_fold: ratios(finite, one),
        },
        setup: { wire_dtype: 'F32', elements },
      };
    });
  },
};

/** A copied tensor, which keeps steps of its run from being folded as they arrive (src/engine/fold/fold-ahead.ts). */
const COUNTER = { name: 'n', dtype: 'I64', shape: [], policy: 'COPY' };

/** Nanoseconds of CPU time for an element of a commit that folds, from the last staged byte to the new version. */
async function commitCost(specs, elements, seconds) {
  const table = new RunTable(BUDGET_BYTES, 'simd');
  const { run, writer, stage } = openRun(table, specs, elements, [COUNTER]);
  try {
    return await costOf(elements, seconds, async (step) => {
      stage(step);
      return await cpuMicroseconds(() => commit(run, writer, step));
    });
  } finally {
    table.delete('r');
  }
}

/** Nanoseconds of CPU time for an element of a step, from the first staged byte to the new version. */
async function stepCost(specs, elements, seconds) {
  const table = new RunTable(BUDGET_BYTES, 'simd');
  const { run, writer, stage } = openRun(table, specs, elements);
  try {
    return await costOf(elements, seconds, (step) =>
      cpuMicroseconds(() => {
        stage(step);
        return commit(run, writer, step);
      }),
    );
  } finally {
    table.delete('r');
  }
}

/** Nanoseconds of CPU time for an element, of measuring how an average moves. */
async function movementCost(elements, seconds) {
  const table = new RunTable(BUDGET_BYTES, 'simd');
  // The weights are those of another average: their pages lie beside those of the first one, as staging does.
  const { run, stage } = openRun(table, [ema('a', 0.999), ema('b', 0.99)], elements);
  try {
    stage(1);
    const [{ plane, table: pages }, { table: weights }] = run.head.shadows;
    return await costOf(elements, seconds, () =>
      cpuMicroseconds(() => {
        const meter = new MovementMeter('F32', 1e-3);
        for (const [index, page] of pages.entries()) {
          const count = Math.min(plane.pageElements, elements - index * plane.pageElements);
          meter.see(page, page.address, weights[index].address, count, 'F32');
        }
      }),
    );
  } finally {
    table.delete('r');
  }
}

/** Nanoseconds of CPU time for an element, of looking for infinities and NaN in a chunk that has just been written. */
async function finiteCost(elements, seconds) {
  const chunk = CHUNK_BYTES / 4;
  const memory = new WebAssembly.Memory({ initial: CHUNK_BYTES / 65_536 });
  const { finite } = createKernels({ memory, mode: 'simd' });
  return await costOf(elements, seconds, () =>
    cpuMicroseconds(() => {
      for (let done = 0; done < elements; done += chunk) finite.F32(0, Math.min(chunk, elements - done));
    }),
  );
}

function openRun(table, specs, elements, more = []) {
  const tensors = [{ name: 'w', dtype: 'F32', shape: [elements], policy: 'AVERAGE' }, ...more];
  const { run } = table.open({ name: 'r', tensors, averages: specs, nonFinite: 'REJECT_STEP', snapshots: undefined });
  // The writer stays open; deleting the run ends it.
  const generation = run.attach({ incarnation: '', writers: 1 });
  const writer = run.openWriter({ generation, writer: 0, takeover: false }, () => {});
  const values = Float32Array.from({ length: CHUNK_BYTES / 4 }, (_, index) => (index % 4_096) / 4_096 - 0.5);
  const bytes = new Uint8Array(values.buffer);
  const stage = (step) => {
    for (let at = 0; at < run.stepBytes; at += CHUNK_BYTES) {
      writer.stage(step, at, bytes.subarray(0, Math.min(CHUNK_BYTES, run.stepBytes - at)));
    }
  };
  return { run, writer, stage };
}

function commit(run, writer, step) {
  return writer.commit({ step, bytes: run.stepBytes, isInitial: false, isSkipped: false }, drive);
}

/** Repeats a measurement, which returns microseconds, for some seconds, after a first one that only warms up. */
async function costOf(elements, seconds, measure) {
  await measure(1);
  let microseconds = 0;
  let count = 0;
  while (microseconds < seconds * 1e6) {
    count += 1;
    microseconds += await measure(1 + count);
  }
  return (microseconds * 1e3) / (count * elements);
}

async function cpuMicroseconds(work) {
  const began = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(began);
  return user + system;
}

async function drive(fold) {
  for (const _ of fold);
}

import { interleave, ratios } from './harness/pairs.mjs';
import { HAS_PROC, residentBytes } from './harness/proc-files.mjs';
import { withProcesses } from './harness/processes.mjs';

const STEPS = 20;
const SHADOW_BYTES = 4;

/** The configurations that are measured: the dtype on the wire, its bytes per parameter, and the number of averages. */
const CELLS = {
  F32_1_average: { wire_dtype: 'F32', wireBytes: 4, averages: 1 },
  F32_2_averages: { wire_dtype: 'F32', wireBytes: 4, averages: 2 },
  BF16_1_average: { wire_dtype: 'BF16', wireBytes: 2, averages: 1 },
  BF16_2_averages: { wire_dtype: 'BF16', wireBytes: 2, averages: 2 },
};
const CELL_NAMES = Object.keys(CELLS);

/** The bytes per parameter of the design: 4 for each average, and those of the step in flight. */
const designBytes = ({ wireBytes, averages }) => SHADOW_BYTES * averages + wireBytes;

/** Measures the resident bytes per parameter of a server after 20 steps, less those before the run was opened. */
export const memory = {
  name: 'memory',
  needs: ['numpy', 'grpcio'],
  unavailable: () => (HAS_PROC ? undefined : 'the memory of a process is read from /proc, which only Linux has'),
  targets: CELL_NAMES.map((cell) => ({ figure: `vs_design.${cell}`, at_most: 1.15 })),

  async run({ pairs, quick, progress, ...context }) {
    const model = quick ? { count: 10, elements: 100_000 } : { count: 100, elements: 1_000_000 };
    const measure = (cell) => () => bytesPerParameter(context, CELLS[cell], model);
    const contenders = Object.fromEntries(CELL_NAMES.map((cell) => [cell, measure(cell)]));
    const measured = await interleave(pairs, contenders, progress, { warmUp: false });
    const samples = {};
    for (const cell of CELL_NAMES) samples[`bytes_per_parameter.${cell}`] = measured[cell];
    for (const cell of CELL_NAMES) samples[`design_bytes.${cell}`] = measured[cell].map(() => designBytes(CELLS[cell]));
    for (const cell of CELL_NAMES) {
      samples[`vs_design.${cell}`] = ratios(measured[cell], samples[`design_bytes.${cell}`]);
    }
    return { samples, setup: { parameters: model.count * model.elements, tensors: model.count, steps: STEPS } };
  },
};

/** Starts a server of its own for each measurement, so that nothing of an earlier run is counted. */
async function bytesPerParameter(context, { wire_dtype, averages }, { count, elements }) {
  return await withProcesses(context, async (start) => {
    const { target, pid } = await start.server();
    const client = start.peer('shadowkeep_client.py');
    await client.call('connect', { target });
    const before = residentBytes(pid);
    await client.call('open_equal', { count, elements, averages, wire_dtype });
    await client.call('push', { count: STEPS });
    return (residentBytes(pid) - before) / (count * elements);
  });
}

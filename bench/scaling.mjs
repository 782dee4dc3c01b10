import { interleave } from './harness/pairs.mjs';
import { cpuSeconds, HAS_PROC } from './harness/proc-files.mjs';
import { withProcesses } from './harness/processes.mjs';

/** The models of each row, as tensors × elements. The largest one needs more than one arena of 4 GiB. */
const ROWS = {
  parameters: {
    '10M': { count: 10, elements: 1_000_000 },
    '100M': { count: 100, elements: 1_000_000 },
    '1200M': { count: 1_200, elements: 1_000_000 },
  },
  tensors: {
    1: { count: 1, elements: 10_000_000 },
    100: { count: 100, elements: 100_000 },
    10000: { count: 10_000, elements: 1_000 },
  },
};

/** Bytes that each cell pushes in one measurement: one step of the largest model. */
const BYTES = 4_800_000_000;

/** With --quick there are a tenth of the tensors, each a tenth as large. */
const QUICK_DIVISOR = 10;

/** Measures the server's CPU seconds for a gigabyte, as the model grows and as it is cut into more tensors. */
export const scaling = {
  name: 'scaling',
  needs: ['numpy', 'grpcio'],
  unavailable: () => (HAS_PROC ? undefined : 'the CPU time of a process is read from /proc, which only Linux has'),
  targets: Object.keys(ROWS).map((row) => ({ figure: `spread.${row}`, at_most: 1.25 })),

  async run({ pairs, quick, progress, ...context }) {
    return await withProcesses(context, async (start) => {
      progress('starting');
      const cells = Object.entries(ROWS).flatMap(([row, models]) =>
        Object.entries(models).map(async ([cell, model]) => [
          `${row}.${cell}`,
          await startCell(start, model, quick ? QUICK_DIVISOR : 1),
        ]),
      );
      const contenders = Object.fromEntries(await Promise.all(cells));
      const measured = await interleave(pairs, contenders, progress);
      const samples = {};
      for (const [cell, values] of Object.entries(measured)) samples[`cpu_s_per_gb.${cell}`] = values;
      for (const [row, models] of Object.entries(ROWS)) {
        const values = Object.keys(models).map((cell) => measured[`${row}.${cell}`]);
        samples[`spread.${row}`] = values[0].map((_, round) => spread(values.map((cell) => cell[round])));
      }
      return {
        samples,
        setup: { wire_dtype: 'F32', averages: 1, bytes_per_measurement: BYTES / (quick ? QUICK_DIVISOR ** 2 : 1) },
      };
    });
  },
};

/** The most expensive cell of a row over the cheapest. */
function spread(values) {
  return Math.max(...values) / Math.min(...values);
}

/** Starts a server with its run, and returns the function that measures it. */
async function startCell(start, { count, elements }, divisor) {
  const { target, pid } = await start.server();
  const client = start.peer('shadowkeep_client.py');
  await client.call('connect', { target });
  const stepBytes = await client.call('open_equal', {
    count: Math.ceil(count / divisor),
    elements: elements / divisor,
  });
  const steps = Math.ceil(BYTES / divisor ** 2 / stepBytes);
  return async () => {
    const before = cpuSeconds(pid);
    const { bytes } = await client.call('push', { count: steps });
    return (cpuSeconds(pid) - before) / (bytes / 1e9);
  };
}

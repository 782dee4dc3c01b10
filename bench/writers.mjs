import { interleave, ratios } from './harness/pairs.mjs';
import { cpuSeconds, HAS_PROC, peakResidentBytes } from './harness/proc-files.mjs';
import { withProcesses } from './harness/processes.mjs';
import { transferModel } from './harness/transfer.mjs';
import { startWorld } from './harness/world.mjs';

const MIB = 1 << 20;

/** The numbers of writers whose joint speed is measured. */
const INGEST_WRITERS = [1, 4, 16];
/** Steps of one measurement, which take a few seconds. */
const INGEST_STEPS = 3;

/** The largest trainer that declares boxes: each writer declares a box of each tensor, ten million in all. */
const OPEN = { writers: 1_024, model: { count: 10_000, shape: [1_024, 4] } };
const OPEN_QUICK = { writers: 16, model: { count: 100, shape: [1_024, 4] } };

/** The numbers of writers that commit a tiny model, and how many commits of all of them make one measurement. */
const COMMIT_WRITERS = [1, 4, 16, 64, 256];
const COMMIT_WRITERS_QUICK = [1, 4];
const COMMIT_MODEL = { count: 1, shape: [256, 16] };
const COMMITS = 8_000;
const COMMIT_STEPS_MAX = 1_000;

/** By what --quick divides the sizes. */
const QUICK_DIVISOR = 20;

/** Measures many writers of one trainer: how fast they push together, how long they open, and what a commit costs. */
export const writers = {
  name: 'writers',
  needs: [],
  unavailable: () =>
    HAS_PROC ? undefined : 'the time and memory of a process are read from /proc, which only Linux has',
  targets: [
    ...INGEST_WRITERS.slice(1).map((count) => ({ figure: `vs_one_writer.${count}`, at_least: 0.85 })),
    { figure: 'open_s', at_most: 5 },
    { figure: 'open_rss_mib', at_most: 1_024 },
  ],

  async run(context) {
    const { quick } = context;
    const model = transferModel(quick);
    const opening = quick ? OPEN_QUICK : OPEN;
    const ingest = await measureIngest(context, model);
    const open = await measureOpen(context, opening);
    const commit = await measureCommit(
      context,
      quick ? COMMIT_WRITERS_QUICK : COMMIT_WRITERS,
      quick ? QUICK_DIVISOR : 1,
    );
    return {
      samples: { ...ingest, ...open, ...commit },
      setup: { ingest: { ...model, steps: INGEST_STEPS }, open: opening, commit: COMMIT_MODEL, checksums: false },
    };
  },
};

/** Measures gigabytes per second from all writers together. Each number of writers has a server of its own. */
async function measureIngest({ pairs, progress, ...context }, model) {
  return await withProcesses(context, async (start) => {
    const figures = {};
    const contenders = {};
    for (const count of INGEST_WRITERS) {
      progress(`starting ${count} writers`);
      const server = await start.server();
      const world = await startWorld(start, { target: server.target, run: 'bench', model, writers: count });
      await world.open();
      contenders[`ingest_gbps.${count}`] = async () => {
        const used = () => [cpuSeconds(server.pid), world.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)];
        const [serverBefore, clientBefore] = used();
        const seconds = await world.push(INGEST_STEPS);
        const [serverAfter, clientAfter] = used();
        const gigabytes = (INGEST_STEPS * model.total_bytes) / 1e9;
        note(figures, `server_cpu_s_per_gb.${count}`, (serverAfter - serverBefore) / gigabytes);
        note(figures, `client_cpu_s_per_gb.${count}`, (clientAfter - clientBefore) / gigabytes);
        note(figures, `server_cores.${count}`, (serverAfter - serverBefore) / seconds);
        return gigabytes / seconds;
      };
    }
    const measured = await interleave(pairs, contenders, progress);
    const [one, ...others] = INGEST_WRITERS.map((count) => measured[`ingest_gbps.${count}`]);
    const samples = { ...measured };
    for (const [index, gbps] of others.entries())
      samples[`vs_one_writer.${INGEST_WRITERS[index + 1]}`] = ratios(gbps, one);
    return { ...samples, ...lastOf(figures, pairs) };
  });
}

/** Measures the time from the first declaration to the last opened writer, and the memory of a fresh server for it. */
async function measureOpen({ pairs, progress, ...context }, { writers: count, model }) {
  const figures = {};
  const once = () =>
    withProcesses(context, async (start) => {
      const server = await start.server();
      const before = peakResidentBytes(server.pid);
      const world = await startWorld(start, {
        target: server.target,
        run: 'bench',
        model,
        writers: count,
        share: true,
      });
      const cpuBefore = cpuSeconds(server.pid);
      const seconds = await world.open();
      note(figures, 'open_cpu_s', cpuSeconds(server.pid) - cpuBefore);
      note(figures, 'open_rss_mib', peakResidentBytes(server.pid) / MIB);
      note(figures, 'idle_rss_mib', before / MIB);
      note(figures, 'open_sent_mib', world.openBytes / MIB);
      return seconds;
    });
  const measured = await interleave(pairs, { open_s: once }, progress, { warmUp: false });
  return { ...measured, ...figures };
}

/** Measures the service's CPU time for a commit of a tiny model, and what each further writer adds to it. */
async function measureCommit({ pairs, progress, ...context }, counts, divisor) {
  return await withProcesses(context, async (start) => {
    const server = await start.server();
    const contenders = {};
    for (const count of counts) {
      progress(`starting ${count} writers`);
      const trainer = { target: server.target, run: `commit-${count}`, model: COMMIT_MODEL, writers: count };
      const world = await startWorld(start, trainer);
      await world.open();
      const steps = Math.ceil(Math.min(COMMITS / count, COMMIT_STEPS_MAX) / divisor);
      contenders[`commit_cpu_ms.${count}`] = async () => {
        const before = cpuSeconds(server.pid);
        await world.push(steps);
        return ((cpuSeconds(server.pid) - before) / steps) * 1_000;
      };
    }
    const measured = await interleave(pairs, contenders, progress);
    const perWriter = measured['commit_cpu_ms.1'].map((_, round) =>
      slope(counts.map((count) => [count, measured[`commit_cpu_ms.${count}`][round]])),
    );
    return { ...measured, commit_cpu_ms_per_writer: perWriter };
  });
}

/** The slope of the line that fits the points best (least squares). */
function slope(points) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const x = mean(points.map(([value]) => value));
  const y = mean(points.map(([, value]) => value));
  const above = points.map(([px, py]) => (px - x) * (py - y));
  const below = points.map(([px]) => (px - x) ** 2);
  return mean(above) / mean(below);
}

function note(figures, name, value) {
  figures[name] ??= [];
  figures[name].push(value);
}

/** The figures without the round that warms up. */
function lastOf(figures, pairs) {
  return Object.fromEntries(Object.entries(figures).map(([name, values]) => [name, values.slice(-pairs)]));
}

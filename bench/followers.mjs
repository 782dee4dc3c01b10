import { interleave, median, ratios } from './harness/pairs.mjs';
import { cpuSeconds, HAS_PROC, peakResidentBytes, resetPeak } from './harness/proc-files.mjs';
import { withProcesses } from './harness/processes.mjs';
import { startWorld } from './harness/world.mjs';

const MIB = 1 << 20;

/** How many evaluators read while the trainer pushes. */
const FOLLOWERS = [0, 4, 32];

/** The float32 model, its bytes, and how many seconds the trainer pushes in one measurement. */
const FULL = { model: { count: 100, shape: [250, 1_000] }, bytes: 100_000_000, seconds: 4 };
const QUICK = { model: { count: 10, shape: [100, 100] }, bytes: 400_000, seconds: 0.2 };

/**
 * The service's budget: ten times the model, which is less than 32 evaluators could hold, so that the bound matters.
 */
const BUDGET_MIB = 1_024;
/** What the service's process takes beside its budget (PROCESS_BYTES in src/server/options/memory-defaults.ts). */
const PROCESS_MIB = 256;

/** A trainer pushes at full speed while evaluators read the newest version as fast as they can. */
export const followers = {
  name: 'followers',
  needs: [],
  unavailable: () =>
    HAS_PROC ? undefined : 'the time and memory of a process are read from /proc, which only Linux has',
  targets: [
    { figure: 'vs_alone.4', at_least: 0.6 },
    ...FOLLOWERS.map((count) => ({ figure: `rss_vs_bound.${count}`, at_most: 1 })),
  ],

  async run({ pairs, quick, progress, ...context }) {
    const { model, bytes, seconds } = quick ? QUICK : FULL;
    return await withProcesses(context, async (start) => {
      progress('starting');
      const server = await start.server(['--memory', `${BUDGET_MIB}MiB`]);
      const trainer = await startWorld(start, { target: server.target, run: 'bench', model, writers: 1 });
      await trainer.open();
      await trainer.push(1);
      const evaluators = start.peer('followers.mjs');
      const figures = {};
      const measure = (count) => async () => {
        const seen = await pushWith(server, evaluators, count, () => trainer.pushFor(seconds));
        for (const [name, value] of Object.entries(seen.figures)) {
          figures[`${name}.${count}`] ??= [];
          figures[`${name}.${count}`].push(value);
        }
        return (seen.pushed.steps * bytes) / 1e9 / seen.pushed.seconds;
      };
      const contenders = Object.fromEntries(FOLLOWERS.map((count) => [`trainer_gbps.${count}`, measure(count)]));
      const measured = await interleave(pairs, contenders, progress);
      const samples = { ...measured };
      for (const count of FOLLOWERS.filter((followed) => followed > 0)) {
        samples[`vs_alone.${count}`] = ratios(measured[`trainer_gbps.${count}`], measured['trainer_gbps.0']);
      }
      for (const [name, values] of Object.entries(figures)) samples[name] = values.slice(-pairs);
      const setup = { model, seconds, averages: 1, budget_mib: BUDGET_MIB, process_mib: PROCESS_MIB, checksums: false };
      return { samples, setup };
    });
  },
};

/** Runs `push` while `count` evaluators read, and returns its time and what the evaluators and the service saw. */
async function pushWith(server, evaluators, count, push) {
  if (count > 0) await evaluators.call('start', { target: server.target, run: 'bench', count });
  resetPeak(server.pid);
  const before = cpuSeconds(server.pid);
  if (count > 0) await evaluators.call('reset');
  const pushed = await push();
  const read = count > 0 ? await evaluators.call('report') : undefined;
  const figures = {
    rss_vs_bound: peakResidentBytes(server.pid) / MIB / (BUDGET_MIB + PROCESS_MIB),
    server_cores: (cpuSeconds(server.pid) - before) / pushed.seconds,
    ...(read === undefined ? {} : readFigures(read)),
  };
  if (count > 0) await evaluators.call('stop');
  return { pushed, figures };
}

function readFigures({ seconds, bytes, reads, evicted, lags }) {
  const all = lags.length > 0 ? lags : [0];
  return {
    read_gbps: bytes / 1e9 / seconds,
    reads,
    reads_evicted: evicted,
    lag_steps: median(all),
    lag_steps_worst: Math.max(...all),
  };
}

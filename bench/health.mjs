import { interleave, quantile, ratios } from './harness/pairs.mjs';
import { withProcesses } from './harness/processes.mjs';
import { transferModel } from './harness/transfer.mjs';

/** Steps of one measurement. A fold takes a fraction of a second, and a 99th percentile needs hundreds of checks. */
const STEPS = 10;
const IDLE_MS = 2_000;

/** Measures how long the standard health check takes while steps of 1 GiB are received and folded. */
export const health = {
  name: 'health',
  needs: ['numpy', 'grpcio'],
  targets: [{ figure: 'fold_p99_ms', at_most: 100 }],

  async run({ pairs, quick, progress, ...context }) {
    const model = transferModel(quick);
    return await withProcesses(context, async (start) => {
      const { target } = await start.server();
      const trainer = start.peer('shadowkeep_client.py');
      await trainer.call('connect', { target });
      await trainer.call('open_mixed', model);
      const fold = [];
      const checks = [];
      const measured = await interleave(
        pairs,
        {
          idle_p99_ms: async () => p99Ms(await probe(start, target, () => sleep(IDLE_MS))),
          push_p99_ms: async () => {
            let steps = [];
            const probes = await probe(start, target, async () => {
              steps = await trainer.call('push_timed', { count: STEPS });
            });
            const during = probes.filter(([began, took]) =>
              steps.some(([, sent, acked]) => began < acked && began + took > sent),
            );
            fold.push(p99Ms(during));
            checks.push(during.length);
            return p99Ms(probes);
          },
        },
        progress,
      );
      const rounds = (values) => values.slice(-pairs);
      return {
        samples: {
          fold_p99_ms: rounds(fold),
          ...measured,
          fold_vs_idle: ratios(rounds(fold), measured.idle_p99_ms),
          checks_during_fold: rounds(checks),
        },
        setup: { ...model, steps: STEPS },
      };
    });
  },
};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const p99Ms = (probes) =>
  quantile(
    probes.map(([, took]) => took * 1_000),
    0.99,
  );

/** Lets a process of its own check health while `work` runs. */
async function probe(start, target, work) {
  const prober = start.peer('health_prober.py');
  await prober.call('begin', { target });
  await work();
  const probes = await prober.call('end');
  await prober.stop();
  return probes;
}

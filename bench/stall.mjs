import { interleave, ratios } from './harness/pairs.mjs';
import { withProcesses } from './harness/processes.mjs';

const SYSTEMS = ['shadowkeep', 'foreach_lerp', 'textbook'];

/** Seconds that a training step of such a model takes on an accelerator. */
const STEP_SECONDS = 0.3;
const STEPS = 10;

/** Measures how many milliseconds an update of the average holds the training thread, with BF16 on the wire. */
export const stall = {
  name: 'stall',
  needs: ['numpy', 'grpcio', 'torch'],
  targets: [{ figure: 'vs_foreach_lerp', at_most: 1 }],

  async run({ pairs, quick, progress, ...context }) {
    const options = quick ? { steps: 2, step_seconds: 0.01 } : { steps: STEPS, step_seconds: STEP_SECONDS };
    return await withProcesses(context, async (start) => {
      const { target } = await start.server();
      const trainer = start.peer('stall.py');
      const model = await trainer.call('begin', { target, parameters: quick ? 2_000_000 : 50_000_000 });
      const contenders = {};
      for (const system of SYSTEMS) contenders[system] = () => trainer.call('stall', { system, ...options });
      contenders.back_to_back = () => trainer.call('stall', { system: 'shadowkeep', ...options, step_seconds: 0 });
      const measured = await interleave(pairs, contenders, progress);
      const samples = {};
      for (const [name, values] of Object.entries(measured)) samples[`${name}_ms`] = values;
      for (const peer of SYSTEMS.slice(1)) samples[`vs_${peer}`] = ratios(measured.shadowkeep, measured[peer]);
      return { samples, setup: { ...model, ...options, wire_dtype: 'BF16', checksums: false } };
    });
  },
};

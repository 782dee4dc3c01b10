import type { Run, TrainerRequest } from '../../engine/index.js';
import type { Service } from '../service.js';

/**
 * Attaches one life of a trainer to a run. A new generation of a run that would come back after a crash is on the disk before
 * anybody hears of it: a crash that forgot it would take the newer trainer for the older one. `onAttached` is called at the
 * same moment; a trainer that is refused changes nothing.
 */
export async function attachTrainer(
  service: Service,
  run: Run,
  trainer: TrainerRequest,
  onAttached: () => void,
): Promise<number> {
  return await service.activity(run).attaching.run(async () => {
    const planned = await run.whenSettled(() => run.planAttach(trainer));
    if (planned !== undefined) await service.files?.keepLineage(run, planned);
    try {
      return await run.whenSettled(() => {
        const before = { generation: run.generation, step: run.committedStep };
        const generation = run.attach(trainer, planned);
        onAttached();
        tell(service, run, trainer.incarnation, before);
        return generation;
      });
    } catch (error) {
      // A commit came between: what is kept is what counts.
      if (planned !== undefined && !run.isDeleted) await service.files?.keepLineage(run, run.lineage);
      throw error;
    }
  });
}

function tell(
  { life }: Service,
  { spec, generation, writerCount, committedStep }: Run,
  incarnation: string,
  before: { readonly generation: number; readonly step: number | undefined },
): void {
  const run = { run: spec.name, generation, incarnation, writers: writerCount, committedStep };
  if (generation === before.generation) life.info('trainer attached again', run);
  else if (before.generation === 0) life.info('trainer attached', run);
  else life.info('trainer attached, the one before is fenced', { ...run, fencedGeneration: before.generation });
  if (committedStep !== before.step) life.warn('run rewound', { ...run, fromStep: before.step });
}

import type { Run, TrainerRequest } from '../../engine/index.js';
import type { Service } from '../service.js';

/**
 * Attaches one life of a trainer to a run and returns its generation. When the run has a checkpoint, a new generation
 * is on disk before the trainer hears of it: a server that forgot it in a crash would take the newer trainer for the
 * older one. `onAttached` is called in the same moment as the run attaches the trainer. A trainer that is refused
 * changes nothing.
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
        // What is on the disk is of the steps that the trainer has gone back behind.
        if (run.committedStep !== before.step) service.activity(run).durableStep = undefined;
        tell(service, run, trainer.incarnation, before);
        return generation;
      });
    } catch (error) {
      // A commit came between the plan and its execution, and the run refused: the disk gets the run's real lineage
      // back.
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

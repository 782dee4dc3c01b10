import { quote, ShadowkeepError } from '../common/index.js';
import type { RunSpec } from './run-spec.js';
import type { Version } from './versions/version.js';

/** What a check of a trainer needs of a run: the steps that it has committed and kept. */
interface StandingRun {
  readonly spec: RunSpec;
  readonly committedStep: number | undefined;
  /** The newest step of which the trainer was told what became of it. */
  readonly answeredStep: number | undefined;
  readonly retainedSteps: readonly number[];
}

/**
 * Checks that a trainer may go on in a run from the step where the trainer says it is, or from `version` when it asks to
 * go back. Throws VERSION_NOT_FOUND, RUN_BEHIND, RUN_HAS_COMMITS, TRAINER_BEHIND.
 */
export function checkTrainer(
  { committedStep, answeredStep = 0, retainedSteps, spec }: StandingRun,
  resumeStep: number | undefined,
  trainerStep: number | undefined,
  version: Version | undefined,
): void {
  const name = quote(spec.name);
  if (committedStep === undefined) return;
  const retained = `retained are steps [${retainedSteps.join(', ')}]`;
  if (resumeStep !== undefined && version === undefined) {
    throw new ShadowkeepError(
      'VERSION_NOT_FOUND',
      `run ${name} has no version at or below step ${resumeStep} to go on from: ${committedStep} is committed, ${retained}`,
      { metadata: { resumeStep, committedStep } },
    );
  }
  if (trainerStep === undefined || trainerStep === committedStep) return;
  const metadata = { trainerStep, committedStep };
  if (trainerStep > committedStep) {
    if (trainerStep <= answeredStep) return;
    throw new ShadowkeepError(
      'RUN_BEHIND',
      `run ${name} has committed step ${committedStep}, the trainer comes back from step ${trainerStep}: what lies between ` +
        `is not in its averages; go on without trainer_step, restore a checkpoint of step ${committedStep}, or begin another run`,
      { metadata },
    );
  }
  if (resumeStep !== undefined) return;
  if (trainerStep === 0) {
    throw new ShadowkeepError(
      'RUN_HAS_COMMITS',
      `run ${name} has committed step ${committedStep}, the trainer begins at step 0: open another run, delete this one, ` +
        `go on in it without trainer_step, or rewind with resume_step; ${retained}`,
      { metadata },
    );
  }
  throw new ShadowkeepError(
    'TRAINER_BEHIND',
    `run ${name} has committed step ${committedStep}, the trainer comes back from step ${trainerStep}: go on without ` +
      `trainer_step, steps up to ${committedStep} are acknowledged and not folded, or rewind with resume_step; ${retained}`,
    { metadata },
  );
}

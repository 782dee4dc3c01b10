import type { UpdateOpened__Output } from '../protocol/index.js';
import { ClientError, protocolError } from './errors.js';
import type { OutgoingStep } from './outgoing-step.js';
import type { Ack } from './types.js';

/**
 * Decides what becomes of the steps that were under way when the connection broke, by what the service says of the
 * writer. Returns the acks of the steps that are committed, and sets where each other step goes on. Throws when a step
 * is lost.
 */
export function resumeSteps(steps: readonly OutgoingStep[], opened: UpdateOpened__Output): Ack[] {
  const { committed_step: committedStep, durable_step: durableStep } = opened;
  const acks: Ack[] = [];
  for (const [index, step] of steps.entries()) {
    if (!step.hasBegun) break;
    // Acks come in the order of the commits, so a committed step behind an undecided one waits for its own ack.
    const isNext = index === acks.length;
    if (isNext && committedStep !== undefined && step.step <= committedStep) {
      step.arrived();
      acks.push({ step: step.step, state: 'ALREADY_COMMITTED', detail: undefined, committedStep, durableStep });
    } else if (isHeld(step.step, opened)) {
      step.arrived();
    } else {
      step.goOnFrom(step.step === opened.step ? opened.received_bytes : 0);
    }
  }
  return acks;
}

/**
 * Throws when the service does not continue from where it was: one that was restarted from a checkpoint may have lost
 * steps that it had acknowledged.
 */
export function checkResumed(
  before: UpdateOpened__Output,
  opened: UpdateOpened__Output,
  committedStep: number | undefined,
): void {
  if (opened.step_bytes !== before.step_bytes || opened.first_step_bytes !== before.first_step_bytes) {
    throw protocolError(`a step of ${opened.first_step_bytes} bytes where it had ${before.first_step_bytes}`);
  }
  if (committedStep === undefined || (opened.committed_step ?? -1) >= committedStep) return;
  throw new ClientError(
    'UNAVAILABLE',
    `the service was started again and has lost acknowledged steps: it is at step ${opened.committed_step ?? 'none'}, ` +
      `it was at step ${committedStep}`,
    { metadata: { step: String(committedStep) } },
  );
}

/** Whether the service has progressed between two openings, so that coming back again and again is not in vain. */
export function isFurther(opened: UpdateOpened__Output, before: UpdateOpened__Output): boolean {
  const [now, then] = [placeOf(opened), placeOf(before)];
  const first = now.findIndex((value, index) => value !== then[index]);
  return first >= 0 && now[first]! > then[first]!;
}

/** How far a writer is, the weightiest first: no bytes are counted of a step that is whole. */
function placeOf({ committed_step: committed = -1, step = -1, whole, received_bytes: received }: UpdateOpened__Output) {
  return [committed, step, Number(whole), received];
}

/**
 * Whether all of a step has arrived, by what the service says: the writer is in a later step, or this step is whole.
 */
function isHeld(step: number, opened: UpdateOpened__Output): boolean {
  if (opened.step === undefined) return false;
  return step < opened.step || (step === opened.step && opened.whole);
}

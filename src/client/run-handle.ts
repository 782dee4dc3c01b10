import { ClientError } from './errors.js';
import { OutgoingStep } from './outgoing-step.js';
import type { StepLayout } from './step-layout.js';
import type { StepSender } from './step-sender.js';
import { type StepData, sourcesOf } from './step-source.js';
import type { PendingStep, StepPart } from './types.js';

/** What the service said when the run was opened. */
export interface OpenedRun {
  run: string;
  generation: number;
  firstGeneration: number | undefined;
  created: boolean;
  writers: number;
  writer: number;
  retainedSteps: readonly number[];
  /** Length of one step of this writer, bytes: without the tensors that are sent once, and with them. */
  stepBytes: number;
  firstStepBytes: number;
}

/**
 * A run that this process writes. Steps are sent one after another in the order of the calls, as fast as the service
 * takes them. A connection that breaks is opened again, and the step that it broke in goes on from the byte that the
 * service has. When a step fails the handle is over: that step, every later one and `flush` reject with the same error.
 * Opening the run again goes on; a step that was acknowledged is not folded twice.
 */
export class RunHandle {
  readonly run: string;
  /** Fencing token of this trainer. */
  readonly generation: number;
  /** The generation that created the run, which no other run has; undefined: the service did not keep it. */
  readonly firstGeneration: number | undefined;
  /** Whether opening it created the run. */
  readonly created: boolean;
  /** Number of writers of this generation, and which of them this one is, from 0. */
  readonly writers: number;
  readonly writer: number;
  /** Steps that `resumeStep` could name when the run was opened, rising. */
  readonly retainedSteps: readonly number[];
  /** Bytes of one step of this writer on the wire, without the tensors of policy COPY_ONCE. */
  readonly stepBytes: number;
  /**
   * What this writer sends, in the order of its byte space: its boxes without those that another member of their replica
   * group sends, or all tensors. Those of policy COPY_ONCE are the last ones, and sent until a step is committed.
   */
  readonly parts: readonly StepPart[];
  readonly #firstStepBytes: number;
  readonly #sender: StepSender;
  readonly #layout: StepLayout;
  #closing: Promise<void> | undefined;

  /** Made by `ShadowkeepClient.openRun`. */
  constructor(opened: OpenedRun, sender: StepSender, layout: StepLayout) {
    this.#sender = sender;
    this.#layout = layout;
    this.run = opened.run;
    this.generation = opened.generation;
    this.firstGeneration = opened.firstGeneration;
    this.created = opened.created;
    this.writers = opened.writers;
    this.writer = opened.writer;
    this.retainedSteps = opened.retainedSteps;
    this.stepBytes = opened.stepBytes;
    this.parts = [...layout.eachStep, ...layout.once];
    this.#firstStepBytes = opened.firstStepBytes;
  }

  /** The newest step that readers can see, as far as this writer has heard; undefined before the first commit. */
  get committedStep(): number | undefined {
    return this.#sender.committedStep;
  }

  /** How many steps of this writer were dropped, because another writer's part of them did not come in time. */
  get droppedSteps(): number {
    return this.#sender.droppedSteps;
  }

  /**
   * Sends the weights before the first update: shadows are assigned, nothing is folded. Averages that start INITIAL
   * need it. Otherwise as `update`.
   */
  pushInitial(step: number, data: StepData): PendingStep {
    return this.#push(step, data, true);
  }

  /**
   * Sends a step to be folded, of several writers this one's part of it: all of them send the same steps. Steps may skip
   * but never fall. `data`: the tensors by name; of a writer with boxes an array of views, one for each declared box; or a
   * function that reads part by part. Throws at once when something is missing, unknown or of the wrong length.
   *
   * The step itself resolves when it is acknowledged, `sent` when the tensors may be changed again; a caller that waits for
   * `sent` before the next step holds one step at a time.
   */
  update(step: number, data: StepData): PendingStep {
    return this.#push(step, data, false);
  }

  /**
   * Tells the service that the optimizer skipped this step, as a gradient scaler does: readers see the step, the averages
   * stay. Sends no weights. Otherwise as `update`.
   */
  skip(step: number): PendingStep {
    return this.#enqueue(new OutgoingStep({ step, bytes: 0, skipped: true }, []));
  }

  /** Waits until every step is acknowledged; rejects with the failure that ended the handle. */
  flush(): Promise<void> {
    return this.#sender.flush();
  }

  /**
   * Waits until every step is acknowledged and ends the stream. The run stays. A script that ends without it goes on for as
   * long as the service does; one that ends by `process.exit` says which steps may be lost.
   */
  close(): Promise<void> {
    this.#closing ??= this.#sender.close();
    return this.#closing;
  }

  /** Ends the stream at once. A step that is not committed leaves no trace, once the service no longer waits for the rest. */
  abort(): void {
    this.#sender.fail(new ClientError('CANCELLED', 'the stream was aborted by its client'));
  }

  #push(step: number, data: StepData, initial: boolean): PendingStep {
    // Until a step is known to be committed each may be the first.
    const isFirst = this.committedStep === undefined;
    const bytes = isFirst ? this.#firstStepBytes : this.stepBytes;
    return this.#enqueue(new OutgoingStep({ step, bytes, initial }, sourcesOf(data, this.#layout, isFirst)));
  }

  #enqueue(step: OutgoingStep): PendingStep {
    if (this.#closing !== undefined) throw new ClientError('FAILED_PRECONDITION', 'the run handle is closed');
    this.#sender.push(step);
    // Not a plain property: whoever asks for it gives up that the step can be sent again.
    return Object.defineProperty(step.ack.promise, 'sent', { get: () => step.sent }) as PendingStep;
  }
}

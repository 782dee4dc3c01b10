import { ClientError } from './errors.js';
import { OutgoingStep } from './outgoing-step.js';
import type { StepLayout } from './step-layout.js';
import type { StepSender } from './step-sender.js';
import { type StepData, sourcesOf } from './step-source.js';
import type { PendingStep, StepPart } from './types.js';

/** What the service has said of the run when it was opened. */
export interface OpenedRun {
  run: string;
  generation: number;
  firstGeneration: number | undefined;
  created: boolean;
  writers: number;
  writer: number;
  retainedSteps: readonly number[];
  /** Length of one step of this writer, bytes, without the tensors that are sent once. */
  stepBytes: number;
  /** Length of the first step of this writer, bytes, with the tensors that are sent once. */
  firstStepBytes: number;
}

/**
 * A run that this process writes. Steps are sent one after another in the order of the calls, as fast as the service
 * takes them. When the connection breaks it is opened again, and the step goes on from the bytes that the service has.
 * When a step fails the handle is over: that step, every later step and `flush` reject with the same error. Opening the
 * run again goes on; a step that was acknowledged is not folded twice.
 */
export class RunHandle {
  readonly run: string;
  /** The fencing token of this trainer. */
  readonly generation: number;
  /** The generation that created the run, which no other run has; undefined when the service does not know it. */
  readonly firstGeneration: number | undefined;
  /** Whether opening it created the run. */
  readonly created: boolean;
  /** Number of writers of this generation. */
  readonly writers: number;
  /** The number of this writer, from 0. */
  readonly writer: number;
  /** The steps that `resumeStep` could rewind to when the run was opened, rising. */
  readonly retainedSteps: readonly number[];
  /** Bytes of one step of this writer on the wire, without the tensors of policy COPY_ONCE. */
  readonly stepBytes: number;
  /**
   * The parts that this writer sends, in the order of its byte space: all tensors, or its boxes without those that
   * another member of their replica group sends. The tensors of policy COPY_ONCE come last; they are sent until a step
   * is committed.
   */
  readonly parts: readonly StepPart[];
  readonly #firstStepBytes: number;
  readonly #sender: StepSender;
  readonly #layout: StepLayout;
  #closing: Promise<void> | undefined;

  /** Use `ShadowkeepClient.openRun` to make one. */
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
   * Sends the weights before the first update. The shadows are set to them and nothing is folded. Averages that start
   * from INITIAL need it. Otherwise the call is like `update`.
   */
  pushInitial(step: number, data: StepData): PendingStep {
    return this.#push(step, data, true);
  }

  /**
   * Sends a step to be folded, or this writer's part of it; all writers must send the same steps. Steps must rise, with
   * gaps if the trainer likes. `data` is the tensors by name, or, for a writer with boxes, an array with a view for
   * each declared box, or a function that reads part by part. Throws at once when data is missing, unknown or of the
   * wrong length.
   *
   * The returned step resolves when it is acknowledged, and its `sent` resolves when the tensors may be changed again.
   * A caller that waits for `sent` before the next step holds the tensors of one step at a time.
   */
  update(step: number, data: StepData): PendingStep {
    return this.#push(step, data, false);
  }

  /**
   * Tells the service that the optimizer skipped this step, as a gradient scaler makes it do. Readers see the step, and
   * the averages stay as they are. Sends no weights. Otherwise the call is like `update`.
   */
  skip(step: number): PendingStep {
    return this.#enqueue(new OutgoingStep({ step, bytes: 0, skipped: true }, []));
  }

  /** Waits until every step is acknowledged. Rejects with the failure that ended the handle. */
  flush(): Promise<void> {
    return this.#sender.flush();
  }

  /**
   * Waits until every step is acknowledged, then ends the stream. The run stays. Without a call of `close` the open
   * stream keeps the process alive. A process that ends by `process.exit` says which steps may be lost.
   */
  close(): Promise<void> {
    this.#closing ??= this.#sender.close();
    return this.#closing;
  }

  /**
   * Ends the stream at once. A step that is not committed leaves no trace, once the service has waited for its rest.
   */
  abort(): void {
    this.#sender.fail(new ClientError('CANCELLED', 'the stream was aborted by its client'));
  }

  #push(step: number, data: StepData, initial: boolean): PendingStep {
    // Until this writer knows of a committed step, each step may be the first one and has the tensors that are sent
    // once.
    const isFirst = this.committedStep === undefined;
    const bytes = isFirst ? this.#firstStepBytes : this.stepBytes;
    return this.#enqueue(new OutgoingStep({ step, bytes, initial }, sourcesOf(data, this.#layout, isFirst)));
  }

  #enqueue(step: OutgoingStep): PendingStep {
    if (this.#closing !== undefined) throw new ClientError('FAILED_PRECONDITION', 'the run handle is closed');
    this.#sender.push(step);
    // `sent` is a getter, because whoever reads it allows the tensors to change, and the step cannot be sent again
    // then.
    return Object.defineProperty(step.ack.promise, 'sent', { get: () => step.sent }) as PendingStep;
  }
}

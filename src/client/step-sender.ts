import type { UpdateOpened__Output } from '../protocol/index.js';
import { Backoff } from './backoff.js';
import { ClientError, type Failure, isDisconnect, protocolError, toFailure } from './errors.js';
import { noteAtExit, settled, type Unfinished } from './exit-notice.js';
import type { ChunkOptions, OutgoingStep } from './outgoing-step.js';
import { checkResumed, isFurther, resumeSteps } from './resume-steps.js';
import type { Ack, ReconnectOptions } from './types.js';
import type { StreamListener, UpdateStream } from './update-stream.js';

/** Opens a stream of the writer. With `takeover` it replaces a stream of the same writer that broke. */
export type OpenStream = (
  listener: StreamListener,
  takeover: boolean,
) => { stream: UpdateStream; answered: Promise<void> };

export interface SenderOptions extends ChunkOptions {
  readonly run: string;
  /** How long to try after a break; false makes the first break final. */
  readonly reconnect: ReconnectOptions | false;
}

/** Least time for the service to answer an attempt, also when the deadline is nearer than that. */
const ANSWER_MS_MIN = 1_000;

/**
 * Sends steps one after another and waits for their acks, on as many streams as it takes. When the connection breaks
 * and steps are not acknowledged, the sender opens another stream and goes on from where the service stands. Any other
 * failure is final: every step that is pending or comes later rejects with it.
 */
export class StepSender implements StreamListener, Unfinished {
  readonly run: string;
  readonly #openStream: OpenStream;
  readonly #chunks: ChunkOptions;
  readonly #backoff: Backoff | undefined;
  readonly #ending = new AbortController();
  /** The steps that are not acknowledged, in the order of the calls. */
  readonly #steps: OutgoingStep[] = [];
  /** The stream that steps can be sent on; undefined before the first stream is open and after a break. */
  #stream: UpdateStream | undefined;
  #opening: UpdateStream | undefined;
  /** The service's answer to the newest stream. */
  #opened: UpdateOpened__Output | undefined;
  /** How the last stream broke; undefined before the first break. */
  #broken: Failure | undefined;
  #failure: Failure | undefined;
  #isDriving = false;
  #committedStep: number | undefined;
  #droppedSteps = 0;

  constructor(openStream: OpenStream, { run, checksums, chunkBytes, reconnect }: SenderOptions) {
    this.run = run;
    this.#openStream = openStream;
    this.#chunks = { checksums, chunkBytes };
    this.#backoff = reconnect === false ? undefined : new Backoff(reconnect);
  }

  /** The newest step that readers can see, as far as this writer has heard. */
  get committedStep(): number | undefined {
    return this.#committedStep;
  }

  get droppedSteps(): number {
    return this.#droppedSteps;
  }

  get pendingSteps(): readonly number[] {
    return this.#steps.map(({ step }) => step);
  }

  /** Opens the first stream and returns the service's answer. */
  async open(): Promise<UpdateOpened__Output> {
    await this.#connect();
    return this.#opened!;
  }

  push(step: OutgoingStep): void {
    this.#steps.push(step);
    noteAtExit(this);
    if (this.#failure !== undefined) this.#failSteps(this.#failure);
    else void this.#drive();
  }

  /** Waits until every step is acknowledged. */
  async flush(): Promise<void> {
    await Promise.all(this.#steps.map(({ ack }) => ack.promise));
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Ends the stream when every step is acknowledged. */
  async close(): Promise<void> {
    await this.flush();
    try {
      await this.#stream?.close();
    } catch (error) {
      // All steps are acknowledged, so a connection that breaks now loses nothing.
      if (!isDisconnect(toFailure(error))) throw error;
    }
  }

  /** Ends everything at once. */
  fail(failure: Failure): void {
    if (this.#failure !== undefined) return;
    this.#failure = failure;
    this.#ending.abort(failure);
    this.#opening?.cancel(failure);
    this.#stream?.cancel(failure);
    this.#failSteps(failure);
  }

  onOpened(stream: UpdateStream, opened: UpdateOpened__Output): void {
    const before = this.#opened;
    this.#stream = stream;
    this.#opening = undefined;
    this.#opened = opened;
    this.#backoff?.connected();
    try {
      if (before !== undefined) {
        checkResumed(before, opened, this.#committedStep);
        if (isFurther(opened, before)) this.#backoff?.reset();
        for (const ack of resumeSteps(this.#steps, opened)) this.onAck(ack);
      }
      this.#committedStep = opened.committed_step;
    } catch (error) {
      this.fail(toFailure(error));
    }
  }

  onAck(ack: Ack): void {
    const first = this.#steps[0];
    if (first?.step !== ack.step || !first.isCommitted) {
      const due = first?.isCommitted ? first.step : 'no step';
      throw protocolError(`an ack of step ${ack.step} where one of ${due} was due`);
    }
    this.#steps.shift();
    if (this.#steps.length === 0) settled(this);
    this.#committedStep = ack.committedStep ?? this.#committedStep;
    if (ack.state === 'DROPPED') this.#droppedSteps += 1;
    this.#backoff?.reset();
    first.ack.resolve(ack);
  }

  onFailure(stream: UpdateStream, failure: Failure): void {
    // #connect itself handles the failure of a stream that was never opened.
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    if (!this.#canComeBack(failure)) {
      this.fail(failure);
      return;
    }
    this.#broken = failure;
    void this.#drive();
  }

  /** Runs while there is a step to send, or a step without an ack and no stream. */
  async #drive(): Promise<void> {
    if (this.#isDriving) return;
    this.#isDriving = true;
    try {
      while (this.#steps.length > 0) {
        const stream = this.#stream ?? (await this.#connect());
        const next = this.#steps.find((step) => !step.isSent);
        if (next !== undefined) await this.#transmit(next, stream);
        else if (this.#stream !== undefined) break;
      }
    } catch (error) {
      this.fail(toFailure(error));
    } finally {
      this.#isDriving = false;
    }
  }

  async #transmit(step: OutgoingStep, stream: UpdateStream): Promise<void> {
    try {
      await step.transmit(stream, this.#chunks);
    } catch (error) {
      // onFailure has handled a failure of the stream. Any other failure comes from the source of the bytes and is
      // final.
      if (stream.failure === undefined) throw error;
    }
  }

  /** Opens a stream. After a break it tries again and again until the deadline. */
  async #connect(): Promise<UpdateStream> {
    for (;;) {
      if (this.#broken !== undefined) await this.#backoff?.wait(this.#broken, this.#ending.signal);
      const { stream, answered } = this.#openStream(this, this.#broken !== undefined);
      this.#opening = stream;
      try {
        await this.#answerInTime(stream, answered);
      } catch (error) {
        const failure = toFailure(error);
        if (!this.#canComeBack(failure)) throw this.#failure ?? failure;
        this.#broken = failure;
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      return stream;
    }
  }

  /**
   * Waits for the service's answer to a stream. The answer to the first stream comes when all writers are there, which
   * only the service bounds. The answer to a later stream must come before the deadline.
   */
  async #answerInTime(stream: UpdateStream, answered: Promise<void>): Promise<void> {
    if (this.#opened === undefined || this.#backoff === undefined) return await answered;
    const ms = Math.max(ANSWER_MS_MIN, this.#backoff.leftMs);
    const late = new ClientError('UNAVAILABLE', `the service did not open the stream within ${Math.round(ms)} ms`);
    const timer = setTimeout(() => stream.cancel(late), ms);
    try {
      await answered;
    } finally {
      clearTimeout(timer);
    }
  }

  #canComeBack(failure: Failure): boolean {
    return this.#failure === undefined && this.#backoff !== undefined && isDisconnect(failure);
  }

  #failSteps(failure: Failure): void {
    settled(this);
    for (const step of this.#steps.splice(0)) step.ack.reject(failure);
  }
}

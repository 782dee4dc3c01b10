import type { ServerDuplexStream } from '@grpc/grpc-js';
import { ShadowkeepError } from '../../common/index.js';
import type { CommitOutcome, Run, WriterStream } from '../../engine/index.js';
import type { UpdateOpened, UpdateResponse } from '../../protocol/index.js';
import { PeerGone } from '../calls/call-signal.js';
import { StreamInput } from '../calls/stream-input.js';
import { writeMessage } from '../calls/write-message.js';
import { driveFold } from '../loop/drive-fold.js';
import { inTurns, soon } from '../loop/in-slices.js';
import {
  type DecodedUpdate,
  OpeningBytes,
  stepFields,
  type UpdateMessage,
  validateBoxes,
  validateUpdate,
  validateUpdateOpen,
} from '../messages/index.js';
import type { Service } from '../service.js';
import type { RunActivity } from '../trainers/run-activity.js';
import type { StepTimer } from '../trainers/step-timer.js';

/**
 * A request that cannot be decoded comes as its error. An opening comes as its bytes, because it is decoded in slices.
 */
type UpdateInput = DecodedUpdate | OpeningBytes | ShadowkeepError;

export type UpdateCall = ServerDuplexStream<UpdateInput, UpdateResponse>;

type Input = StreamInput<UpdateInput>;

/**
 * Serves one writer's stream: stages its chunks, commits the writer's part of a step when its commit arrives, and
 * acknowledges the step when it is decided. Returns after the half-close, once all steps that the writer has committed
 * are acknowledged.
 */
export async function update(service: Service, call: UpdateCall): Promise<void> {
  const input: Input = new StreamInput(call, service.transport.meterOf(call));
  const forget = service.trackStream((error) => input.fail(error));
  let session: UpdateSession | undefined;
  let opening: Extract<UpdateMessage, { kind: 'open' }> | undefined;
  let isBroken = true;
  let failure: unknown;
  try {
    for await (const request of input) {
      if (request instanceof ShadowkeepError) throw request;
      const message = validateUpdate(request instanceof OpeningBytes ? await soon(request.decode()) : request);
      if (session !== undefined) {
        await session.handle(message);
      } else if (message.kind === 'open') {
        opening = message;
        session = await UpdateSession.open(service, call, input, message);
        await session.begin();
      } else {
        throw new ShadowkeepError('OUT_OF_ORDER', `the first message must be open, got ${message.kind}`);
      }
    }
    // A peer that is gone gets no acks, so nothing waits for them.
    if (!call.cancelled) await Promise.race([session?.answered(), input.cancelled]);
    isBroken = call.cancelled;
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    forget();
    if (session !== undefined) session.close(isBroken, failure);
    else if (failure !== undefined) tellRefused(service, call, opening, failure);
  }
}

function tellRefused(
  { life }: Service,
  call: UpdateCall,
  opening: Extract<UpdateMessage, { kind: 'open' }> | undefined,
  failure: unknown,
): void {
  const { run, generation, writer, takeover } = opening?.open ?? {};
  life.warn('writer refused', { run, generation, writer, takeover, peer: call.getPeer(), ...whyOf(failure) });
}

/** What the log says of a failure: the error's reason and message, or that the peer is gone. */
function whyOf(failure: unknown): { readonly why: string; readonly problem?: string } {
  if (failure === undefined || failure instanceof PeerGone) return { why: 'PEER_GONE' };
  if (failure instanceof ShadowkeepError) return { why: failure.reason, problem: failure.message };
  return { why: 'INTERNAL', problem: String(failure) };
}

class UpdateSession {
  readonly #service: Service;
  readonly #call: UpdateCall;
  readonly #input: Input;
  readonly #run: Run;
  readonly #stream: WriterStream;
  readonly #activity: RunActivity;
  readonly #timer: StepTimer;
  /** Tells `readTurns` that the step under way is sent; undefined between steps. */
  #sent: (() => void) | undefined;
  /** Settles when gRPC has every ack so far. */
  #answered: Promise<void> = Promise.resolve();

  private constructor(service: Service, call: UpdateCall, input: Input, run: Run, stream: WriterStream) {
    this.#service = service;
    this.#call = call;
    this.#input = input;
    this.#run = run;
    this.#stream = stream;
    this.#activity = service.activity(run);
    this.#timer = service.stepTimer(run);
    this.#activity.writersConnected += 1;
  }

  static async open(
    service: Service,
    call: UpdateCall,
    input: Input,
    message: Extract<UpdateMessage, { kind: 'open' }>,
  ): Promise<UpdateSession> {
    const request = validateUpdateOpen(message);
    const run = service.table.get(request.run);
    if (request.boxes !== undefined) await inTurns(validateBoxes('open.boxes', request.boxes, run.layout.tensors));
    const stream = await run.whenSettled(() => soon(run.openingWriter(request, (error) => input.fail(error))));
    return new UpdateSession(service, call, input, run, stream);
  }

  get #named(): { readonly run: string; readonly generation: number; readonly writer: number } {
    return { run: this.#run.spec.name, generation: this.#stream.generation, writer: this.#stream.number };
  }

  /** Waits until all writers have declared their boxes, then tells this writer where it stands. */
  async begin(): Promise<void> {
    const { stepTimeoutMs } = this.#service.options;
    const timer = setTimeout(() => this.#input.fail(this.#run.missingError(stepTimeoutMs)), stepTimeoutMs);
    await this.#input.hold(this.#stream.ready);
    clearTimeout(timer);
    // Not ready: the peer is gone, or the input was failed and throws the error next.
    if (!this.#stream.isReady) return;
    const opened = {
      step_bytes: this.#stream.stepBytes,
      first_step_bytes: this.#stream.firstStepBytes,
      left_out: [...this.#stream.leftOut],
      ...this.#place(),
      ...stepFields(this.#run.committedStep, this.#activity.durableStep),
    };
    const { step, received_bytes: receivedBytes } = opened as { step?: number; received_bytes?: number };
    const peer = this.#call.getPeer();
    this.#service.life.info(
      step === undefined ? 'writer opened its stream' : 'writer goes on in a step',
      step === undefined ? { ...this.#named, peer } : { ...this.#named, step, receivedBytes, peer },
    );
    // An earlier stream of this writer sent these steps whole, and they were undecided. `opened` names the newest of
    // them, so their acks are written after it, even when a step is decided while `opened` is being written.
    this.#answered = writeMessage(this.#call, { opened });
    for (const { step, outcome } of this.#stream.awaited) this.#answer(step, outcome);
  }

  async handle(message: UpdateMessage): Promise<void> {
    switch (message.kind) {
      case 'open':
        throw new ShadowkeepError('OUT_OF_ORDER', 'open is the first message of a stream and no other');
      case 'chunk':
        if (this.#stream.admission(message.step) !== undefined && !(await this.#admit(message.step))) return;
        await soon(this.#stream.staging(message.step, message.offset, message.data));
        this.#activity.bytesReceived += message.data.length;
        this.#sent ??= this.#service.readTurns.begin();
        this.#service.readTurns.received(message.data.length);
        this.#timer.wind(message.step);
        return;
      case 'commit':
        await this.#commit(message.step, message.bytes, message.isInitial, false);
        return;
      case 'skip':
        await this.#commit(message.step, 0, false, true);
        return;
      case 'lost':
        await this.#lose(message.through);
    }
  }

  /** The newest step of this writer that the server has bytes of. All older steps of the writer have arrived whole. */
  #place(): Pick<UpdateOpened, 'step' | 'received_bytes' | 'whole'> {
    const { step, receivedBytes, awaited } = this.#stream;
    const whole = awaited.at(-1)?.step;
    const { committedStep } = this.#run;
    const isUnderWay = step !== undefined && step > Math.max(whole ?? -1, committedStep ?? -1);
    if (isUnderWay) return { step, received_bytes: receivedBytes, whole: false };
    return whole === undefined ? {} : { step: whole, received_bytes: 0, whole: true };
  }

  /** Waits until the acks of all that this stream has committed are written. */
  async answered(): Promise<void> {
    await this.#answered;
  }

  /**
   * Ends the session. The server keeps what the writer has sent for the reconnect grace when the stream broke, and also
   * when it ended inside of a step: many a client half-closes a stream before it resets it.
   */
  close(isBroken: boolean, failure: unknown): void {
    const { step, receivedBytes } = this.#stream;
    const mayComeBack = isBroken || step !== undefined;
    if (mayComeBack || failure !== undefined) {
      this.#service.life.warn('writer lost its stream', { ...this.#named, step, receivedBytes, ...whyOf(failure) });
    } else {
      this.#service.life.info('writer closed its stream', { ...this.#named, committedStep: this.#run.committedStep });
    }
    this.#sent?.();
    this.#activity.writerLeft();
    this.#stream.leave();
    const forget = (): void => void this.#run.whenSettled(() => this.#stream.forget());
    if (mayComeBack && this.#service.options.reconnectGraceMs > 0) {
      setTimeout(forget, this.#service.options.reconnectGraceMs).unref();
    } else {
      forget();
    }
  }

  /** Waits while the step is too far ahead of the other writers. Returns false when the stream ended meanwhile. */
  async #admit(step: number): Promise<boolean> {
    while (!this.#input.isOver) {
      this.#stream.checkOpen();
      const room = this.#stream.admission(step);
      if (room === undefined) return true;
      await this.#input.hold(room);
    }
    return false;
  }

  async #commit(step: number, bytes: number, isInitial: boolean, isSkipped: boolean): Promise<void> {
    this.#sent?.();
    this.#sent = undefined;
    if (!(await this.#admit(step))) return;
    const decided = this.#activity.partArrived(step);
    const outcome = this.#stream.commit({ step, bytes, isInitial, isSkipped }, driveFold).finally(decided);
    this.#timer.wind(step);
    const answered = this.#answer(step, outcome);
    // A writer that is ahead of others goes on to its next step; the last writer of a step waits for the fold.
    if (!this.#stream.waitsForOthers) await answered;
  }

  /**
   * Records that this writer has lost its steps up to `through`. Waits first until every step that it has committed is
   * decided, because those it has not lost.
   */
  async #lose(through: number): Promise<void> {
    await this.#input.hold(this.#answered);
    if (this.#input.isOver) return;
    await this.#run.whenSettled(() => this.#stream.lose(through));
    this.#service.life.warn('writer has lost steps', { ...this.#named, through });
    this.#timer.wind();
  }

  /** Acknowledges a step when it is decided. Acks are written in the order of the commits. */
  #answer(step: number, outcome: Promise<CommitOutcome>): Promise<void> {
    const before = this.#answered;
    const answered = outcome.then(async ({ state, detail, lostBy }) => {
      this.#timer.wind();
      if (state === 'COMMITTED') this.#activity.committed(this.#stream.generation, step);
      const steps = stepFields(this.#run.committedStep, this.#activity.durableStep);
      await before;
      const turn = this.#service.answerTurns.turn();
      if (turn !== undefined) await turn;
      const loss = lostBy === undefined ? {} : { lost_by: lostBy };
      await writeMessage(this.#call, { ack: { step, state, ...steps, detail, ...loss } });
    });
    answered.catch((error: unknown) => {
      if (!(error instanceof PeerGone)) this.#input.fail(error);
    });
    this.#answered = answered;
    return answered;
  }
}

import type { ServerDuplexStream } from '@grpc/grpc-js';
import { ShadowkeepError } from '../../common/index.js';
import type { CommitOutcome, Run, Writer } from '../../engine/index.js';
import {
  stepFields,
  type UpdateMessage,
  type UpdateRequest__Output,
  type UpdateResponse,
  validateBoxes,
  validateUpdate,
  validateUpdateOpen,
} from '../../wire/index.js';
import { driveFold } from '../drive-fold.js';
import type { RunActivity } from '../run-activity.js';
import type { Service } from '../service.js';
import { StreamInput } from '../stream-input.js';
import { writeMessage } from '../write-message.js';

/** A request that cannot be decoded comes as its error. */
export type UpdateCall = ServerDuplexStream<UpdateRequest__Output | ShadowkeepError, UpdateResponse>;

/** One writer's stream: stages chunks, folds a step when its commit arrives, acknowledges it. Returns at half-close. */
export async function update(service: Service, call: UpdateCall): Promise<void> {
  const input = new StreamInput(call);
  const forget = service.trackStream((error) => input.fail(error));
  let session: UpdateSession | undefined;
  try {
    for await (const request of input) {
      if (request instanceof ShadowkeepError) throw request;
      const message = validateUpdate(request);
      if (session === undefined) session = await openSession(service, call, message, (error) => input.fail(error));
      else await session.take(message);
    }
  } finally {
    forget();
    session?.close();
  }
}

async function openSession(
  service: Service,
  call: UpdateCall,
  message: UpdateMessage,
  fail: (error: ShadowkeepError) => void,
): Promise<UpdateSession> {
  if (message.kind !== 'open') {
    throw new ShadowkeepError('OUT_OF_ORDER', `the first message must be open, got ${message.kind}`);
  }
  const { run: name, generation, wireDType } = validateUpdateOpen(message.open);
  const run = service.table.get(name);
  validateBoxes(message.open.boxes, run.layout.tensors);
  const writer = await run.whenSettled(() => run.openWriter(generation, wireDType, fail));
  const activity = service.activity(run);
  activity.writersConnected += 1;
  const session = new UpdateSession(call, run, writer, activity, service.options.stepTimeoutMs, fail);
  await writeMessage(call, {
    opened: {
      step_bytes: writer.plan.stepBytes,
      first_step_bytes: writer.plan.firstStepBytes,
      ...stepFields(run.committedStep, activity.durableStep),
    },
  });
  return session;
}

class UpdateSession {
  readonly #call: UpdateCall;
  readonly #run: Run;
  readonly #writer: Writer;
  readonly #activity: RunActivity;
  /** Runs while a step has begun and is not whole; each chunk winds it up again. */
  #stepTimer: NodeJS.Timeout | undefined;
  readonly #stepTimeoutMs: number;
  readonly #fail: (error: ShadowkeepError) => void;

  constructor(
    call: UpdateCall,
    run: Run,
    writer: Writer,
    activity: RunActivity,
    stepTimeoutMs: number,
    fail: (error: ShadowkeepError) => void,
  ) {
    this.#call = call;
    this.#run = run;
    this.#writer = writer;
    this.#activity = activity;
    this.#stepTimeoutMs = stepTimeoutMs;
    this.#fail = fail;
  }

  async take(message: UpdateMessage): Promise<void> {
    switch (message.kind) {
      case 'open':
        throw new ShadowkeepError('OUT_OF_ORDER', 'open is the first message of a stream and no other');
      case 'chunk':
        this.#writer.stage(message.step, message.offset, message.data);
        this.#activity.bytesReceived += message.data.length;
        this.#windTimer();
        return;
      case 'commit':
        clearTimeout(this.#stepTimer);
        this.#stepTimer = undefined;
        await this.#acknowledge(
          message.step,
          await this.#run.commit(this.#writer, message.step, message.bytes, message.isInitial, driveFold),
        );
        return;
      case 'skip':
        clearTimeout(this.#stepTimer);
        this.#stepTimer = undefined;
        await this.#acknowledge(message.step, this.#run.skip(this.#writer, message.step));
    }
  }

  close(): void {
    clearTimeout(this.#stepTimer);
    this.#activity.writersConnected -= 1;
    this.#run.closeWriter(this.#writer);
  }

  async #acknowledge(step: number, { state, detail }: CommitOutcome): Promise<void> {
    if (state === 'COMMITTED') this.#activity.committed();
    const steps = stepFields(this.#run.committedStep, this.#activity.durableStep);
    await writeMessage(this.#call, { ack: { step, state, ...steps, detail } });
  }

  #windTimer(): void {
    if (this.#stepTimer !== undefined) {
      this.#stepTimer.refresh();
      return;
    }
    this.#stepTimer = setTimeout(() => {
      const { step, receivedBytes, plan } = this.#writer;
      this.#fail(
        new ShadowkeepError(
          'STEP_TIMEOUT',
          `step ${step} got no bytes for ${this.#stepTimeoutMs} ms, ${receivedBytes} of ${plan.stepBytes} had arrived`,
          { metadata: { receivedBytes, stepBytes: plan.stepBytes } },
        ),
      );
    }, this.#stepTimeoutMs);
  }
}

import { setImmediate } from 'node:timers/promises';
import { type Ack, averageEma, connect } from '../client/index.js';
import { runChild } from './child.js';
import { type Classifier, Sgd } from './classifier.js';
import { loadDigits, splitDigits } from './digits.js';
import { seededRandom } from './random.js';
import { ReferenceEma } from './reference.js';
import { AVERAGE_NAME, BATCH_SIZE, createModel, DECAY, LEARNING_RATE, MOMENTUM, RUN_NAME } from './setup.js';

/** Says that the run is open and has its first weights. The trainer now waits until it is told to go on. */
export interface Opened {
  readonly kind: 'opened';
  /** Bytes of one step on the wire. */
  readonly stepBytes: number;
}

/** The trainer's own numbers of one step, before the step is sent. Step 0 has the first weights. */
export interface Trained {
  readonly kind: 'trained';
  readonly step: number;
  /** Mean cross entropy of the step's batch; absent at step 0. */
  readonly loss?: number;
  readonly accuracyRaw: number;
  /** The EMA at this step, in float64. */
  readonly reference: Float64Array;
  /** Largest difference that a float32 EMA can have from it. */
  readonly errorBound: number;
}

/** Says that all steps are acknowledged. */
export interface Acknowledged {
  readonly kind: 'acknowledged';
  /** Number of steps that were acknowledged as COMMITTED. */
  readonly steps: number;
  readonly seconds: number;
}

export type TrainerMessage = Opened | Trained | Acknowledged;

// The trainer's process: trains the classifier and pushes its weights after each step.
await runChild<TrainerMessage>(async ({ target, steps, seed }, parent) => {
  const { train, test } = splitDigits(loadDigits(), seed);
  const model = createModel(seed);
  const sgd = new Sgd(model, LEARNING_RATE, MOMENTUM);
  const batches = seededRandom(seed, 'batches');
  const reference = new ReferenceEma(model.values, DECAY);
  const report = (step: number, loss?: number): void =>
    parent.tell({
      kind: 'trained',
      step,
      ...(loss === undefined ? {} : { loss }),
      accuracyRaw: model.accuracy(test),
      reference: reference.values,
      errorBound: reference.errorBound(),
    });

  const client = connect(target);
  const run = await client.openRun({
    run: RUN_NAME,
    tensors: model.parameters.map(({ name, shape }) => ({ name, dtype: 'F32', shape: [...shape] })),
    averages: [averageEma(AVERAGE_NAME, { decay: DECAY, start: 'INITIAL' })],
  });
  report(0);
  await run.pushInitial(0, tensorsOf(model));
  parent.tell({ kind: 'opened', stepBytes: run.stepBytes });
  await parent.go();

  const startedMs = performance.now();
  const acks: Promise<Ack>[] = [];
  for (let step = 1; step <= steps; step += 1) {
    const rows = Uint32Array.from({ length: BATCH_SIZE }, () => batches.below(train.count));
    const loss = model.lossAndGradients(train, rows);
    sgd.step();
    reference.fold(model.values);
    report(step, loss);
    const pending = run.update(step, tensorsOf(model));
    acks.push(pending);
    await pending.sent;
    // A loop that only computes would hold back what it has sent, and the acks.
    await setImmediate();
  }
  const committed = (await Promise.all(acks)).filter(({ state }) => state === 'COMMITTED');
  parent.tell({ kind: 'acknowledged', steps: committed.length, seconds: (performance.now() - startedMs) / 1_000 });
  await run.close();
  client.close();
});

function tensorsOf(model: Classifier): Map<string, Float32Array> {
  return new Map(model.parameters.map(({ name, values }) => [name, values]));
}

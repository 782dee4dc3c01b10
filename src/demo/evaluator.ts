import { connect, type Shadow } from '../client/index.js';
import { runChild } from './child.js';
import type { Classifier } from './classifier.js';
import { loadDigits, splitDigits } from './digits.js';
import { createModel, evaluationEvery, RUN_NAME } from './setup.js';

/** Says that the evaluator follows the run and has pulled its first weights. */
export interface Watching {
  readonly kind: 'watching';
}

/** One shadow that the evaluator has pulled. */
export interface Pulled {
  readonly kind: 'pulled';
  readonly step: number;
  readonly numUpdates: number;
  readonly accuracyEma: number;
  /** The elements of all tensors, one tensor after another. */
  readonly values: Float32Array;
  /** Bytes of the pulled tensors. */
  readonly bytes: number;
}

export type EvaluatorMessage = Watching | Pulled;

/** How long the last step may take to arrive after the one before it, milliseconds. */
const LAST_STEP_WAIT_MS = 30_000;

// The evaluator's process: follows the run, pulls the average while the training goes on, and tests it.
await runChild<EvaluatorMessage>(async ({ target, steps, seed }, parent) => {
  const { test } = splitDigits(loadDigits(), seed);
  const model = createModel(seed);
  const client = connect(target);
  await parent.go();
  let pulledStep = -1;

  const evaluate = (shadow: Shadow): void => {
    const bytes = load(model, shadow);
    pulledStep = shadow.step;
    parent.tell({
      kind: 'pulled',
      step: shadow.step,
      numUpdates: shadow.numUpdates,
      accuracyEma: model.accuracy(test),
      values: model.values,
      bytes,
    });
  };

  const every = evaluationEvery(steps);
  for await (const { committedStep } of client.watchRun(RUN_NAME, { every })) {
    if (committedStep === undefined || committedStep <= pulledStep) continue;
    // The trainer does not wait, so by now the newest step may be a later one.
    evaluate(await client.getShadow({ run: RUN_NAME, minStep: committedStep }));
    if (pulledStep === 0) parent.tell({ kind: 'watching' });
    if (pulledStep + every > steps) break;
  }
  if (pulledStep < steps) {
    evaluate(await client.getShadow({ run: RUN_NAME, step: steps, waitMs: LAST_STEP_WAIT_MS }));
  }
  client.close();
});

/** Puts a pulled shadow into the model, as a state dict would be loaded. Returns its bytes. */
function load(model: Classifier, shadow: Shadow): number {
  let bytes = 0;
  for (const { name, shape, values } of model.parameters) {
    const tensor = shadow.tensors.get(name);
    if (tensor?.dtype !== 'F32' || tensor.shape.join() !== shape.join()) {
      throw new Error(
        `${name}: expected F32 [${shape.join(', ')}], got ${tensor?.dtype} [${tensor?.shape.join(', ')}]`,
      );
    }
    const { data } = tensor;
    values.set(new Float32Array(data.buffer, data.byteOffset, data.byteLength / Float32Array.BYTES_PER_ELEMENT));
    bytes += data.byteLength;
  }
  return bytes;
}

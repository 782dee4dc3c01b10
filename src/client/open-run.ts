import { randomUUID } from 'node:crypto';
import { CHUNK_BYTES } from '../common/index.js';
import type {
  OpenRunRequest,
  OpenRunResponse__Output,
  ShadowWeightsClient,
  Snapshots,
  Tensor,
} from '../protocol/index.js';
import { toAverageMessage } from './averages/index.js';
import { protocolError } from './errors.js';
import { RunHandle } from './run-handle.js';
import { openingBoxes, spaceBytes, stepLayout, withoutLeftOut } from './step-layout.js';
import { StepSender } from './step-sender.js';
import type { OpenRunOptions, SnapshotOptions, TensorSpec } from './types.js';
import { type UpdateCall, UpdateStream } from './update-stream.js';

/** The parts of the client that opening a run needs. */
export interface OpenRunCalls {
  readonly checksums: boolean;
  /** The service's stub. Throws when the client is closed. */
  stub(): ShadowWeightsClient;
  openRun(request: OpenRunRequest): Promise<OpenRunResponse__Output>;
}

/** Opens a run and this writer's stream of updates, and checks that both sides have the same layout of a step. */
export async function openRun(calls: OpenRunCalls, options: OpenRunOptions): Promise<RunHandle> {
  const declared = stepLayout(options);
  const opened = await calls.openRun(toRequest(options));
  const { run, generation, created, writers, limits, retained_steps: retainedSteps } = opened;
  const { first_generation: firstGeneration } = opened;
  const writer = options.writer ?? 0;
  const open = {
    run,
    generation,
    writer,
    boxes: openingBoxes(options, opened.tensor_order),
    wire_dtype: options.wireDtype ?? 'DTYPE_UNSPECIFIED',
    session: randomUUID(),
  } as const;
  const sender = new StepSender(
    (listener, takeover) => {
      const stream = new UpdateStream(calls.stub().Update() as unknown as UpdateCall, listener);
      return { stream, answered: stream.open({ ...open, takeover }) };
    },
    {
      run,
      checksums: calls.checksums,
      chunkBytes: limits?.chunk_bytes ?? CHUNK_BYTES,
      reconnect: options.reconnect ?? {},
    },
  );
  const answer = await sender.open();
  const { step_bytes: stepBytes, first_step_bytes: firstStepBytes } = answer;
  const layout = withoutLeftOut(declared, answer.left_out);
  const eachBytes = spaceBytes(layout.eachStep);
  const firstBytes = spaceBytes([...layout.eachStep, ...layout.once]);
  if (stepBytes !== eachBytes || firstStepBytes !== firstBytes) {
    const failure = protocolError(
      `a step of ${stepBytes} bytes, the first one of ${firstStepBytes}, where the layout has ${eachBytes} and ${firstBytes}`,
    );
    sender.fail(failure);
    throw failure;
  }
  return new RunHandle(
    { run, generation, firstGeneration, created, writers, writer, retainedSteps, stepBytes, firstStepBytes },
    sender,
    layout,
  );
}

function toRequest(options: OpenRunOptions): OpenRunRequest {
  const { snapshots, resumeStep, trainerStep, retain } = options;
  return {
    run: options.run,
    tensors: options.tensors.map(toTensorMessage),
    averages: options.averages.map(toAverageMessage),
    policies: Object.entries(options.policies ?? {}).map(([pattern, policy]) => ({ pattern, policy })),
    non_finite: options.nonFinite ?? 'NON_FINITE_UNSPECIFIED',
    ...(snapshots && { snapshots: toSnapshotsMessage(snapshots) }),
    ...(retain && { retain: { every_steps: retain.everySteps, count_max: retain.countMax } }),
    incarnation: options.incarnation ?? '',
    writers: options.writers ?? 1,
    ...(resumeStep === undefined ? {} : { resume_step: resumeStep }),
    ...(trainerStep === undefined ? {} : { trainer_step: trainerStep }),
  };
}

function toTensorMessage({ name, dtype, shape, policy }: TensorSpec): Tensor {
  return { name, dtype, shape: [...shape], policy: policy ?? 'POLICY_UNSPECIFIED' };
}

function toSnapshotsMessage({ everySteps, countMax, bytesMax, dtype }: SnapshotOptions): Snapshots {
  return {
    every_steps: everySteps,
    count_max: countMax,
    bytes_max: bytesMax ?? 0,
    dtype: dtype ?? 'DTYPE_UNSPECIFIED',
  };
}

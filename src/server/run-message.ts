import { quote, ShadowkeepError } from '../common/index.js';
import { type AverageSpec, type Run, snapshotBytes, type WriterState } from '../engine/index.js';
import type { Run as RunMessage, WriterState as WriterStateMessage } from '../protocol/index.js';
import {
  averageMessage,
  averageStateMessages,
  retentionMessage,
  snapshotsMessage,
  stepFields,
  tensorMessages,
} from './messages/index.js';
import type { Service } from './service.js';
import type { RunActivity } from './trainers/run-activity.js';

/**
 * The message that describes a run. GetRun has the run's tensors from `firstTensor` on. In ListRuns `firstTensor` is
 * undefined, and what may be long (tensors, writers, patterns) is left out. Throws INVALID_FIELD.
 */
export function runMessage(service: Service, run: Run, firstTensor: number | undefined): RunMessage {
  const isListing = firstTensor === undefined;
  const activity = service.activity(run);
  const { commitsPerSecond, receivedBytesPerSecond } = activity.rates;
  const { memory, staging } = run;
  const { ledger } = service.table;
  return {
    run: run.spec.name,
    generation: run.generation,
    ...stepFields(run.committedStep, activity.durableStep),
    run_id: run.id,
    ...(run.firstGeneration === undefined ? {} : { first_generation: run.firstGeneration }),
    tensors: isListing ? [] : tensorMessages(run.layout.tensors, checkedFirst(run, firstTensor)),
    averages: run.averages.map(isListing ? listedAverage : averageMessage),
    states: averageStateMessages(run.head),
    tensor_count: run.layout.tensors.length,
    averaged_elements: run.layout.averagedElements,
    memory: {
      shadow_bytes: memory.shadowBytes,
      staging_bytes: memory.stagingBytes,
      pinned_bytes: memory.pinnedBytes,
      free_bytes: memory.freeBytes,
      snapshot_bytes: memory.snapshotBytes,
      layout_bytes: memory.layoutBytes,
      budget_bytes: ledger.budgetBytes,
      budget_free_bytes: ledger.freeBytes,
    },
    writers_connected: activity.writersConnected,
    readers_connected: activity.readersConnected,
    ...(staging === undefined ? {} : { staging_step: staging.step }),
    staging_bytes: staging?.receivedBytes ?? 0,
    commits: activity.commits,
    bytes_received: activity.bytesReceived,
    bytes_sent: activity.bytesSent,
    commits_per_second: commitsPerSecond,
    received_bytes_per_second: receivedBytesPerSecond,
    non_finite_steps: run.nonFiniteSteps,
    non_finite: run.spec.nonFinite,
    writers: run.writerCount,
    writer_states: isListing ? [] : run.writerStates.map((state) => writerMessage(state, activity)),
    retained_steps: run.retainedSteps,
    ...(run.retain === undefined ? {} : { retain: retentionMessage(run.retain) }),
    ...presentSnapshots(run),
    snapshots_held: run.head.snapshots.map((snapshot) => ({
      average: snapshot.average,
      step: snapshot.step,
      bytes: snapshotBytes([snapshot]),
    })),
    ...(activity.sinceCommitMs === undefined ? {} : { since_commit_ms: activity.sinceCommitMs }),
  };
}

function checkedFirst({ layout, spec }: Run, firstTensor: number): number {
  const count = layout.tensors.length;
  if (firstTensor <= count) return firstTensor;
  const problem = `must be at most ${count}, the tensors of run ${quote(spec.name)}, got ${firstTensor}`;
  throw new ShadowkeepError('INVALID_FIELD', `first_tensor ${problem}`, { metadata: { field: 'first_tensor' } });
}

/** The message of an average in a listing, without its patterns, which may be long. */
function listedAverage(average: AverageSpec): ReturnType<typeof averageMessage> {
  return averageMessage({ ...average, include: [], exclude: [] });
}

function writerMessage(state: WriterState, activity: RunActivity): WriterStateMessage {
  const [oldest] = state.behind;
  return {
    writer: state.writer,
    connected: state.isConnected,
    ...(state.step === undefined ? {} : { step: state.step }),
    ...(state.receivingStep === undefined ? {} : { receiving_step: state.receivingStep }),
    received_bytes: state.receivedBytes,
    step_bytes: state.stepBytes,
    lag_steps: state.behind.length,
    lag_ms: oldest === undefined ? 0 : activity.waitedMs(oldest),
  };
}

/**
 * The run's snapshot settings as it was opened with them, except the cadence, which thinning may have changed since.
 */
function presentSnapshots({ spec: { snapshots }, snapshotsEverySteps }: Run): Pick<RunMessage, 'snapshots'> {
  if (snapshots === undefined) return {};
  return { snapshots: snapshotsMessage({ ...snapshots, everySteps: snapshotsEverySteps ?? snapshots.everySteps }) };
}

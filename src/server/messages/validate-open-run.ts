import {
  AVERAGE_COUNT_MAX,
  checkAverageName,
  checkPrintable,
  checkRunName,
  checkTensorName,
  DTYPE_BYTES,
  type DType,
  ELEMENT_COUNT_MAX,
  elementCount,
  INCARNATION_CHARS_MAX,
  isDType,
  isFloatDType,
  quote,
  RANK_MAX,
  RETAIN_COUNT_MAX,
  ShadowkeepError,
  SNAPSHOT_COUNT_MAX,
  TENSOR_COUNT_MAX,
  toEnd,
  WRITER_COUNT_MAX,
} from '../../common/index.js';
import {
  type AverageSpec,
  chooseTensors,
  type Policy,
  type RetentionSpec,
  type RunRequest,
  type SnapshotsSpec,
  type TensorSpec,
  type TrainerRequest,
} from '../../engine/index.js';
import type {
  OpenRunRequest__Output,
  Retention__Output,
  Snapshots__Output,
  Tensor__Output,
} from '../../protocol/index.js';
import { integer, invalidField, known, nonNegative } from './fields.js';
import { validateAverage } from './validate-average.js';
import { checkFilters, checkPatternSum, policyOf, validatePolicies } from './validate-policies.js';

const NON_FINITE = ['NON_FINITE_UNSPECIFIED', 'ACCEPT', 'REJECT_STEP', 'SKIP_TENSOR'] as const;

/** Least `snapshots.count_max`: thinning drops every other snapshot, which needs two. */
const SNAPSHOT_COUNT_MIN = 2;

export interface OpenRun {
  readonly spec: RunRequest;
  readonly trainer: TrainerRequest;
}

/** Tensors that are checked between two yields: under a millisecond of work. */
const SLICE_TENSORS = 512;

/** Checks a whole OpenRunRequest, before anything is allocated for its run. Yields between slices. */
export function* validatingOpenRun(request: OpenRunRequest__Output): Generator<void, OpenRun> {
  checkRunName(request.run);
  const nonFinite = known('non_finite', request.non_finite, NON_FINITE);
  const trainer = validateTrainer(request);
  const averages = validateAverages(request);
  const tensors = yield* validateTensors(request);
  yield* chooseTensors(tensors, averages);
  for (const [index, average] of averages.entries()) {
    checkFilters(`averages[${index}]`, average, tensors);
    yield;
  }
  return {
    spec: {
      name: request.run,
      tensors,
      averages,
      nonFinite: nonFinite === 'NON_FINITE_UNSPECIFIED' ? undefined : nonFinite,
      snapshots: request.snapshots ? validateSnapshots(request.snapshots, averages) : undefined,
      retain: request.retain ? validateRetention(request.retain) : undefined,
    },
    trainer,
  };
}

/** Checks a whole OpenRunRequest in one go, for callers that keep nobody waiting for the event loop. */
export function validateOpenRun(request: OpenRunRequest__Output): OpenRun {
  return toEnd(validatingOpenRun(request));
}

function validateTrainer({ incarnation, writers, resume_step, trainer_step }: OpenRunRequest__Output): TrainerRequest {
  integer('incarnation length', incarnation.length, 0, INCARNATION_CHARS_MAX);
  checkPrintable(incarnation, 'incarnation');
  if (resume_step !== undefined && incarnation === '') {
    throw invalidField('resume_step', 'needs an incarnation: it acts once for each life of the trainer');
  }
  return {
    incarnation,
    writers: integer('writers', writers, 0, WRITER_COUNT_MAX),
    resumeStep: resume_step === undefined ? undefined : nonNegative('resume_step', resume_step),
    trainerStep: trainer_step === undefined ? undefined : nonNegative('trainer_step', trainer_step),
  };
}

function validateRetention({ every_steps, count_max }: Retention__Output): RetentionSpec {
  return {
    everySteps: integer('retain.every_steps', every_steps, 1, Number.MAX_SAFE_INTEGER),
    countMax: integer('retain.count_max', count_max, 1, RETAIN_COUNT_MAX),
  };
}

function* validateTensors({ tensors, policies }: OpenRunRequest__Output): Generator<void, TensorSpec[]> {
  const reason = tensors.length > TENSOR_COUNT_MAX ? 'TOO_MANY_TENSORS' : 'INVALID_FIELD';
  integer('tensors length', tensors.length, 1, TENSOR_COUNT_MAX, reason);
  const ruled = yield* validatePolicies(policies, tensors);
  const names = new Set<string>();
  const specs: TensorSpec[] = [];
  let total = 0;
  for (const [index, tensor] of tensors.entries()) {
    if (index % SLICE_TENSORS === SLICE_TENSORS - 1) yield;
    const field = `tensors[${index}]`;
    checkTensorName(tensor.name, `${field}.name`);
    if (names.has(tensor.name)) throw invalidTensor(field, tensor.name, 'is declared twice');
    names.add(tensor.name);
    const spec = validateTensor(field, tensor, ruled(index));
    total += elementCount(spec.shape) ?? 0;
    if (total > ELEMENT_COUNT_MAX)
      throw invalidTensor(field, tensor.name, `brings the run over ${ELEMENT_COUNT_MAX} elements`);
    specs.push(spec);
  }
  return specs;
}

function validateTensor(field: string, tensor: Tensor__Output, ruled: Policy | undefined): TensorSpec {
  const { name, dtype, shape } = tensor;
  if (!isDType(dtype))
    throw invalidTensor(field, name, `has dtype ${dtype}, one of ${Object.keys(DTYPE_BYTES)} is required`);
  if (shape.length > RANK_MAX)
    throw invalidTensor(field, name, `has rank ${shape.length}, at most ${RANK_MAX} is allowed`);
  if (!shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0) || elementCount(shape) === undefined) {
    throw invalidTensor(field, name, `has shape [${shape}], at most ${ELEMENT_COUNT_MAX} elements are allowed`);
  }
  return { name, dtype, shape, policy: tensorPolicy(field, tensor, dtype, ruled) };
}

/**
 * The policy of a tensor: its own, else what the rules say, else the default of its dtype. Throws INVALID_TENSOR for
 * AVERAGE with a dtype that the kernels cannot average.
 */
function tensorPolicy(field: string, tensor: Tensor__Output, dtype: DType, ruled: Policy | undefined): Policy {
  const policy = policyOf(`${field}.policy`, tensor.policy) ?? ruled ?? (isFloatDType(dtype) ? 'AVERAGE' : 'COPY');
  if (policy === 'AVERAGE' && !isFloatDType(dtype)) {
    throw invalidTensor(field, tensor.name, `has dtype ${dtype}, only F16, BF16, F32 and F64 can be averaged`);
  }
  return policy;
}

function validateAverages({ averages, policies }: OpenRunRequest__Output): AverageSpec[] {
  integer('averages length', averages.length, 1, AVERAGE_COUNT_MAX, 'INVALID_AVERAGE');
  checkPatternSum([
    ...policies.map(({ pattern }) => pattern),
    ...averages.flatMap(({ include, exclude }) => [...include, ...exclude]),
  ]);
  const names = new Set<string>();
  return averages.map((average, index) => {
    const field = `averages[${index}]`;
    checkAverageName(average.name, `${field}.name`);
    if (names.has(average.name))
      throw invalidField(field, `${quote(average.name)} is declared twice`, 'INVALID_AVERAGE');
    names.add(average.name);
    return validateAverage(field, average);
  });
}

function validateSnapshots(snapshots: Snapshots__Output, averages: readonly AverageSpec[]): SnapshotsSpec {
  const powerCount = averages.filter(({ schedule }) => schedule.kind === 'power_function').length;
  if (powerCount === 0) throw invalidField('snapshots', 'need a power_function average, there is none');
  const countMax = Math.floor(SNAPSHOT_COUNT_MAX / powerCount);
  const { dtype } = snapshots;
  if (dtype !== 'DTYPE_UNSPECIFIED' && !isFloatDType(dtype)) {
    throw invalidField('snapshots.dtype', `must be F16, BF16, F32 or F64, got ${dtype}`);
  }
  return {
    everySteps: integer('snapshots.every_steps', snapshots.every_steps, 1, Number.MAX_SAFE_INTEGER),
    countMax: integer('snapshots.count_max', snapshots.count_max, SNAPSHOT_COUNT_MIN, countMax),
    bytesMax: nonNegative('snapshots.bytes_max', snapshots.bytes_max),
    dtype: dtype === 'DTYPE_UNSPECIFIED' ? 'F32' : dtype,
  };
}

function invalidTensor(field: string, name: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_TENSOR', `${field} ${quote(name)} ${problem}`, {
    metadata: { field, tensor: name },
  });
}

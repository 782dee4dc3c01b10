import {
  AVERAGE_COUNT_MAX,
  checkAverageName,
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
  ShadowkeepError,
  TENSOR_COUNT_MAX,
} from '../common/index.js';
import type { AverageSpec, Policy, RunSpec, TensorSpec } from '../engine/index.js';
import { integer, invalidField, known, unimplemented } from './fields.js';
import type { OpenRunRequest__Output } from './gen/shadowkeep/v1/OpenRunRequest.js';
import type { Tensor__Output } from './gen/shadowkeep/v1/Tensor.js';
import { validateAverage } from './validate-average.js';

const NON_FINITE = ['NON_FINITE_UNSPECIFIED', 'ACCEPT', 'REJECT_STEP', 'SKIP_TENSOR'] as const;

export interface OpenRun {
  readonly spec: RunSpec;
  readonly incarnation: string;
}

/** Checks a whole OpenRunRequest before anything is allocated for it. */
export function validateOpenRun(request: OpenRunRequest__Output): OpenRun {
  checkRunName(request.run);
  if (request.writers > 1) throw unimplemented('writers', request.writers);
  if (request.resume_step !== undefined) throw unimplemented('resume_step', request.resume_step);
  const nonFinite = known('non_finite', request.non_finite, NON_FINITE);
  if (nonFinite === 'REJECT_STEP' || nonFinite === 'SKIP_TENSOR') throw unimplemented('non_finite', nonFinite);
  integer('incarnation length', request.incarnation.length, 0, INCARNATION_CHARS_MAX);
  return {
    spec: { name: request.run, tensors: validateTensors(request.tensors), averages: validateAverages(request) },
    incarnation: request.incarnation,
  };
}

function validateTensors(tensors: readonly Tensor__Output[]): TensorSpec[] {
  const reason = tensors.length > TENSOR_COUNT_MAX ? 'TOO_MANY_TENSORS' : 'INVALID_FIELD';
  integer('tensors length', tensors.length, 1, TENSOR_COUNT_MAX, reason);
  const names = new Set<string>();
  let total = 0;
  return tensors.map((tensor, index) => {
    const field = `tensors[${index}]`;
    checkTensorName(tensor.name, `${field}.name`);
    if (names.has(tensor.name)) throw invalidTensor(field, tensor.name, 'is declared twice');
    names.add(tensor.name);
    const spec = validateTensor(field, tensor);
    total += elementCount(spec.shape) ?? 0;
    if (total > ELEMENT_COUNT_MAX)
      throw invalidTensor(field, tensor.name, `brings the run over ${ELEMENT_COUNT_MAX} elements`);
    return spec;
  });
}

function validateTensor(field: string, tensor: Tensor__Output): TensorSpec {
  const { name, dtype, shape } = tensor;
  if (!isDType(dtype))
    throw invalidTensor(field, name, `has dtype ${dtype}, one of ${Object.keys(DTYPE_BYTES)} is required`);
  if (shape.length > RANK_MAX)
    throw invalidTensor(field, name, `has rank ${shape.length}, at most ${RANK_MAX} is allowed`);
  if (!shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0) || elementCount(shape) === undefined) {
    throw invalidTensor(field, name, `has shape [${shape}], at most ${ELEMENT_COUNT_MAX} elements are allowed`);
  }
  return { name, dtype, shape, policy: policyOf(field, tensor, dtype) };
}

/** The policy with its default by dtype; averaging is for the float dtypes that the kernels know. */
function policyOf(field: string, tensor: Tensor__Output, dtype: DType): Policy {
  const policy = known(`${field}.policy`, tensor.policy, ['POLICY_UNSPECIFIED', 'AVERAGE', 'COPY', 'IGNORE']);
  if (policy === 'POLICY_UNSPECIFIED') return isFloatDType(dtype) ? 'AVERAGE' : 'COPY';
  if (policy === 'AVERAGE' && !isFloatDType(dtype)) {
    throw invalidTensor(field, tensor.name, `has dtype ${dtype}, only F16, BF16, F32 and F64 can be averaged`);
  }
  return policy;
}

function validateAverages({ averages }: OpenRunRequest__Output): AverageSpec[] {
  integer('averages length', averages.length, 1, AVERAGE_COUNT_MAX, 'INVALID_AVERAGE');
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

function invalidTensor(field: string, name: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_TENSOR', `${field} ${quote(name)} ${problem}`, {
    metadata: { field, tensor: name },
  });
}

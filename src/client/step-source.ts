import { DTYPE_BYTES, elementCount, isFloatDType, namePattern, quote, ShadowkeepError } from '../common/index.js';
import type { OpenRunOptions, TensorBytes, TensorReader, TensorSpec } from './types.js';

/** A tensor that travels, with the length that its bytes must have. */
export interface SentTensor extends TensorSpec {
  readonly bytes: number;
}

/** The tensors of a step in the order of its byte space, in the dtype in which they travel. */
export interface SentLayout {
  readonly eachStep: readonly SentTensor[];
  /** Those of policy COPY_ONCE: behind the others, until a step is committed. */
  readonly once: readonly SentTensor[];
}

/** What the server makes of the same request: rules for the tensors that have no policy of their own, then the dtype's. */
export function sentLayout({
  tensors,
  policies = {},
  wireDtype,
}: Pick<OpenRunOptions, 'tensors' | 'policies' | 'wireDtype'>): SentLayout {
  const rules = Object.entries(policies).map(([pattern, policy]) => ({ matches: namePattern(pattern), policy }));
  const sent = tensors.map((tensor) => {
    const ruled = rules.findLast(({ matches }) => matches(tensor.name))?.policy;
    const policy = tensor.policy ?? ruled ?? (isFloatDType(tensor.dtype) ? 'AVERAGE' : 'COPY');
    const dtype = policy === 'AVERAGE' && wireDtype !== undefined ? wireDtype : tensor.dtype;
    // The server has checked the shapes when the run was opened.
    return { ...tensor, policy, dtype, bytes: elementCount(tensor.shape)! * DTYPE_BYTES[dtype] };
  });
  return {
    eachStep: sent.filter(({ policy }) => policy === 'AVERAGE' || policy === 'COPY'),
    once: sent.filter(({ policy }) => policy === 'COPY_ONCE'),
  };
}

/**
 * Views of the expected tensors, in order. Refuses before a byte is sent: a missing name, a wrong length, a name that
 * is neither among them nor among the `spare` ones.
 */
export function viewTensors(
  expected: readonly SentTensor[],
  given: TensorBytes,
  spare: readonly SentTensor[] = [],
): Uint8Array[] {
  const byName: ReadonlyMap<string, ArrayBufferView> =
    given instanceof Map ? given : new Map(Object.entries(given as Record<string, ArrayBufferView>));
  const views = expected.map((tensor) => {
    const view = byName.get(tensor.name);
    if (view === undefined) throw invalid(tensor.name, 'is missing');
    checkLength(tensor, view.byteLength);
    return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  });
  if (byName.size > expected.length) {
    const known = new Set([...expected, ...spare].map((tensor) => tensor.name));
    const unknown = [...byName.keys()].find((name) => !known.has(name));
    if (unknown !== undefined) throw invalid(unknown, 'is not sent: the layout does not have it or ignores it');
  }
  return views;
}

/** One tensor's pieces from a reader, proved to be as long as the tensor. */
export async function* readTensor(tensor: SentTensor, read: TensorReader): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for await (const piece of read(tensor)) {
    bytes += piece.length;
    if (bytes > tensor.bytes) checkLength(tensor, bytes);
    yield piece;
  }
  checkLength(tensor, bytes);
}

function checkLength(tensor: SentTensor, bytes: number): void {
  if (bytes === tensor.bytes) return;
  throw invalid(
    tensor.name,
    `has ${bytes} bytes, ${tensor.dtype} of shape [${tensor.shape.join(', ')}] needs ${tensor.bytes}`,
  );
}

function invalid(name: string, problem: string): ShadowkeepError {
  return new ShadowkeepError('INVALID_TENSOR', `tensor ${quote(name)} ${problem}`, { metadata: { tensor: name } });
}

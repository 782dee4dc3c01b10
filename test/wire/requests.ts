import { type ErrorReason, ShadowkeepError } from '../../src/common/index.js';
import { shadowWeightsDefinition } from '../../src/wire/index.js';

type Definition = typeof shadowWeightsDefinition;

type Request<Method extends keyof Definition> = ReturnType<NonNullable<Definition[Method]>['requestDeserialize']>;

/** A request as a handler gets it: over the wire, with every default filled in. */
export function arrived<Method extends keyof Definition>(method: Method, request: object): Request<Method> {
  const { requestSerialize, requestDeserialize } = shadowWeightsDefinition[method]!;
  return requestDeserialize(requestSerialize(request)) as Request<Method>;
}

/** Reason, text and field of a refusal. */
export function refused(
  action: () => unknown,
): { reason: ErrorReason; message: string; field: string | undefined } | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (!(error instanceof ShadowkeepError)) throw error;
    return { reason: error.reason, message: error.message, field: error.metadata['field'] };
  }
}

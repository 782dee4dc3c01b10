import { type ErrorReason, ShadowkeepError, toEnd } from '../../../src/common/index.js';
import { shadowWeightsDefinition } from '../../../src/protocol/index.js';
import {
  type DecodedGetShadow,
  type DecodedUpdate,
  OpeningBytes,
  requestDecoder,
} from '../../../src/server/messages/index.js';

type Definition = typeof shadowWeightsDefinition;

type Request<Method extends keyof Definition> = ReturnType<NonNullable<Definition[Method]>['requestDeserialize']>;

/** A request as a handler gets it after it was encoded and decoded, with every default filled in. */
export function arrived<Method extends keyof Definition>(method: Method, request: object): Request<Method> {
  const { requestSerialize, requestDeserialize } = shadowWeightsDefinition[method]!;
  return requestDeserialize(requestSerialize(request)) as Request<Method>;
}

/** A GetShadowRequest as a handler gets it, with its boxes in columns. Throws what is wrong with its bytes. */
export function arrivedRead(request: object): DecodedGetShadow {
  const method = shadowWeightsDefinition.GetShadow;
  const decoded = requestDecoder(method)(method.requestSerialize(request));
  if (decoded instanceof ShadowkeepError) throw decoded;
  return decoded;
}

/** A message of an Update stream as a handler gets it, or what is wrong with its bytes. */
export function decodedUpdate(bytes: Buffer): DecodedUpdate | ShadowkeepError {
  try {
    const decoded: unknown = requestDecoder(shadowWeightsDefinition.Update)(bytes);
    return decoded instanceof OpeningBytes ? toEnd(decoded.decode()) : (decoded as DecodedUpdate | ShadowkeepError);
  } catch (error) {
    if (error instanceof ShadowkeepError) return error;
    throw error;
  }
}

/** An average as a handler gets it. It is valid unless `rest` makes it invalid. */
export function arrivedAverage(rest: object) {
  const [average] = arrived('OpenRun', { averages: [{ name: 'a', start: 'FIRST', ...rest }] }).averages;
  return average!;
}

/** The reason, the text and the field of an error. */
export interface Refusal {
  readonly reason: ErrorReason;
  readonly message: string;
  readonly field: string | undefined;
}

/** Runs an action, and returns the error that it throws; undefined when it throws none. */
export function refused(action: () => unknown): Refusal | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (!(error instanceof ShadowkeepError)) throw error;
    return { reason: error.reason, message: error.message, field: error.metadata['field'] };
  }
}

import { ClientError, connect, type ShadowkeepClient } from '../client/index.js';
import { OperationError } from './exit.js';

/** Runs an action with a client, and closes it whatever happens. */
export async function withClient<Result>(
  target: string,
  action: (client: ShadowkeepClient) => Promise<Result>,
): Promise<Result> {
  const client = connect(target);
  try {
    return await action(client);
  } catch (error) {
    throw asUnreachable(target, error);
  } finally {
    client.close();
  }
}

/** Says which service could not be reached, in few words; other failures stay what they are. */
export function asUnreachable(target: string, error: unknown): unknown {
  // What gRPC says has a cause; the client's own words are of steps that were lost, not of the service.
  if (!(error instanceof ClientError) || error.code !== 'UNAVAILABLE' || error.cause === undefined) return error;
  const [, cause = error.message] = /Last error: (?:Error: )?(.+?)\.? Resolution note/.exec(error.message) ?? [];
  return new OperationError(`cannot reach the service at ${target}: ${cause} (UNAVAILABLE)`);
}
